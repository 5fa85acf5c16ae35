"""Before and after for exactly the rows that reviewers touched."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import state
from dashboards.query.views import View


def touched_panel(view: View) -> None:
    """What both runs said about the evaluation rows with a decision that counts."""
    touched = tuple(
        dict.fromkeys(decision.line.sample_id for decision in state.decisions() if decision.state == "active")
    )
    if not touched or view.base is None:
        return
    found = state.touched(view.run, view.base, touched)
    if not found:
        return
    st.subheader("Rows that reviewers touched")
    fixed = sum(one.now is True and one.before is False for one in found)
    broken = sum(one.now is False and one.before is True for one in found)
    st.caption(f"{len(found):,} rows of both runs: {fixed:,} fixed, {broken:,} broken")
    words = {True: "right", False: "wrong", None: ""}
    table = pd.DataFrame(
        {
            "Sample": [one.sample_id for one in found],
            "Question": [one.question for one in found],
            "References": [" · ".join(one.references) for one in found],
            "Before": [f"{one.said_before} ({words[one.before]})" for one in found],
            "After": [f"{one.said_now} ({words[one.now]})" for one in found],
        }
    )
    st.dataframe(table, hide_index=True, key="touched")
