"""The gallery of answers, filtered; the URL holds the whole view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from dashboards.components import commands
from dashboards.components.cards import say_where_images_are_missing
from dashboards.components.commands import same_in_terminal
from dashboards.components.export import export_menu
from dashboards.components.filters import PAGE_SIZE, filter_bar, outcome_bar, pager, view_or_notice
from dashboards.components.navigation import Page, open_sample
from dashboards.components.saved_views import views_menu
from dashboards.data.answers import answers_at, count_outcomes, matching_rows
from dashboards.data.catalog import scan
from dashboards.data.filters import BEFORE, OUTCOMES, Outcome, View
from dashboards.review.button import review_button
from dashboards.review.gallery import gallery
from dashboards.review.queues import queue_of
from dashboards.settings import data_root

PAGE = Page(2, "Failures", ":material/grid_view:", "Review")

_KEYS = (
    "Opens the first row of this page; there J and K go on and back, letters and numbers decide, B returns. Or decide"
    " right here: a letter is for the card in focus, or for all that X has selected."
)


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    if view := view_or_notice(catalog):
        with st.sidebar:
            spec = filter_bar(view.run, view.base)
        _answers(replace(view, spec=outcome_bar(spec)))


def _answers(view: View) -> None:
    """Counts, pager and cards of a view."""
    rows = matching_rows(view)
    counts = count_outcomes(view)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(_summary(counts, has_base=view.base is not None))
        views_menu("failures", view.spec.to_parameters())
        export_menu("failures", view.spec.to_parameters(), f"{len(rows):,} answers")
    if not len(rows):
        _nothing_matches(counts)
        return
    top = st.container()  # its button begins at the first card of the page that the pager chooses below it
    start = pager(len(rows))
    answers = answers_at(view.run, view.base, tuple(int(row) for row in rows[start : start + PAGE_SIZE]))
    with top:
        first = answers[0].sample_id
        label = f"Review these {len(rows):,}"
        review_button(queue_of(view.spec), label, key="review_first", shortcut="O", first=first, help=_KEYS)
    say_where_images_are_missing(view.run, answers[0].task)
    if opened := gallery(answers, view):
        open_sample(opened, view.spec)
    st.caption(f"{start + 1:,}–{min(start + PAGE_SIZE, len(rows)):,} of {len(rows):,} answers")
    first = f"{commands.explain_answer(view.run, answers[0].sample_id, answers[0].task)}  # the first answer above"
    same_in_terminal(f"{commands.rank_slices(view.run, view.spec.task)}\n{first}")


def _summary(counts: Mapping[Outcome, int], *, has_base: bool) -> str:
    shown = [outcome for outcome in OUTCOMES if has_base or outcome not in BEFORE]
    words = [f"{counts[outcome]:,} {'in all' if outcome == 'All' else outcome.lower()}" for outcome in shown]
    return " · ".join(words)


def _nothing_matches(counts: Mapping[Outcome, int]) -> None:
    with st.container(border=True):
        st.markdown("**No answer matches these filters**")
        if counts["All"] and not counts["Right"] + counts["Wrong"]:
            st.caption("No metric of this task judges single answers. Look at all answers, the worst first.")
        elif counts["All"]:
            st.caption(f"{counts['All']:,} answers match with another outcome.")
        else:
            st.caption("Remove a filter at the left.")
        if counts["All"]:
            st.button("Show all outcomes", on_click=_show_all, type="primary", key="show_all")


def _show_all() -> None:
    st.session_state["outcome"] = "All"


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
