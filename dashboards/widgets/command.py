"""The command that gives a view's numbers in a terminal, to copy."""

from __future__ import annotations

import streamlit as st


def same_in_terminal(command: str) -> None:
    """Show a command; Streamlit puts a copy button beside it."""
    st.caption("The same in a terminal")
    st.code(command, language="bash", wrap_lines=True)
