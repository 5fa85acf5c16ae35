"""Keyboard help: every key, on every page, behind the key H."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards.widgets.review_bar import VERDICTS

_WALK = (
    ("O", "Failures: review from the first row of the page"),
    ("J / K", "next / previous page of a list, or next / previous sample of the view"),
    ("B", "Sample: back to the gallery"),
    ("N", "Sample: show the nearest training rows"),
)
_DECIDE = (
    ("1 … 9", "give or take back a tag"),
    ("E", "write another answer or question"),
    ("U", "take back your last decision"),
)


def keyboard_help() -> None:
    """A button in the sidebar that opens the list of keys."""
    if st.sidebar.button("Keys", shortcut="H", icon=":material/keyboard:", key="keys", type="tertiary"):
        _show()


@st.dialog("Keys")
def _show() -> None:
    verdicts = [(verdict.key, f"{verdict.label}: {verdict.help}") for verdict in VERDICTS]
    rows = [*_WALK, *verdicts, *_DECIDE, ("H", "this list")]
    st.table(pd.DataFrame(rows, columns=["Key", "What it does"]).set_index("Key"))
    st.caption("Letters do nothing while you type in a box. Every decision is on disk before the page answers.")
