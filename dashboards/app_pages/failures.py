"""One view of the failures: how many, which page, the cards."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import state
from dashboards.components.commands import explain_answer, rank_slices, same_in_terminal
from dashboards.components.filters import PAGE_SIZE, pager
from dashboards.components.gallery import gallery
from dashboards.components.navigation import open_sample
from dashboards.data.filters import BEFORE, OUTCOMES, View

_KEYS = "Opens the first row of this page; there J and K walk, letters and numbers decide, B comes back."


def show_view(view: View) -> None:
    """Counts, pager and cards of a view."""
    rows = state.view_rows(view)
    counts = state.outcome_counts(view)
    st.caption(_summary(counts, has_base=view.base is not None))
    if not len(rows):
        _nothing_matches(counts)
        return
    start = pager(len(rows))
    answers = state.answers(view, tuple(int(row) for row in rows[start : start + PAGE_SIZE]))
    if opened := gallery(answers, view):
        open_sample(opened, view.spec)
    if st.button("Review from here", shortcut="O", icon=":material/rate_review:", key="review_first", help=_KEYS):
        open_sample(answers[0].sample_id, view.spec)
    st.caption(f"{start + 1:,}–{min(start + PAGE_SIZE, len(rows)):,} of {len(rows):,} answers")
    first = f"{explain_answer(view.run, answers[0].sample_id, answers[0].task)}  # the first answer above"
    same_in_terminal(f"{rank_slices(view.run, view.spec.task)}\n{first}")


def _summary(counts: dict[Any, int], *, has_base: bool) -> str:
    shown = [outcome for outcome in OUTCOMES if has_base or outcome not in BEFORE]
    words = [f"{counts[outcome]:,} {'in all' if outcome == 'All' else outcome.lower()}" for outcome in shown]
    return " · ".join(words)


def _nothing_matches(counts: dict[Any, int]) -> None:
    with st.container(border=True):
        st.markdown("**No answer matches these filters**")
        if counts["All"] and not counts["Right"] + counts["Wrong"]:
            st.caption("This task has no notion of right and wrong. Look at all answers, the worst first.")
        elif counts["All"]:
            st.caption(f"{counts['All']:,} answers match with another outcome.")
        else:
            st.caption("Take a filter away at the left.")
        if counts["All"]:
            st.button("Show all outcomes", on_click=_show_all, type="primary", key="show_all")


def _show_all() -> None:
    st.session_state["outcome"] = "All"
