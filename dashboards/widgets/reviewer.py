"""Who is reviewing: a self-declared name, kept for the session."""

from __future__ import annotations

import getpass

import streamlit as st

_KEY = "reviewer"


def name_box() -> None:
    """A box for the name in the sidebar; it starts with the user that runs the dashboard."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = _system_name()
    with st.sidebar:
        st.text_input(
            "Reviewer", key=_KEY, icon=":material/person:", max_chars=80,
            help="Written into every decision. Nobody checks it: there is no log-in.",
        )  # fmt: skip


def reviewer() -> str:
    """The name, '' where none was entered."""
    return str(st.session_state.get(_KEY, "")).strip()


def _system_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""
