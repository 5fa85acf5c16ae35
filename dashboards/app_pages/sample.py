"""Everything that the folders on disk know about one id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pandas as pd
import streamlit as st

from dashboards.components import commands
from dashboards.components.cards import problem, say_where_images_are_missing
from dashboards.components.commands import same_in_terminal
from dashboards.components.filters import chosen_view
from dashboards.components.navigation import Page, carried_filters, open_failures, open_sample
from dashboards.components.provenance import copies, curated_decision, leaks, nearest_panel, show_nearest
from dashboards.data.answers import Answer, RunAnswer, answers_of_all
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.curated import RowDecision, row_decisions
from dashboards.data.duplicates import matches_of
from dashboards.data.filters import NEAR_MISS_HELP, FilterSpec, View
from dashboards.data.predictions import TRUNCATED
from dashboards.data.reviews import review_target
from dashboards.data.scores import metric_explanations, titles
from dashboards.review.button import CAME_FROM, home_of
from dashboards.review.panel import review_panel
from dashboards.review.queues import Queue
from dashboards.settings import data_root

PAGE = Page(3, "Row by row", ":material/image_search:", "Review")


def show() -> None:
    """Draw the page: the review panel, and below it everything else that is known about the row on its screen."""
    catalog = scan(data_root())
    sample_id = st.query_params.get("id", "")
    if not sample_id and "view" not in st.query_params:  # from the menu; in the URL, so that it stays this list
        st.query_params["view"] = "outcome=Wrong"
    filters = carried_filters()
    view = chosen_view(catalog)
    queue = Queue.from_parameter(st.query_params.get("view"))
    if view:
        filters = replace(filters, run=view.spec.run, base=view.spec.base)
        view = replace(view, spec=filters)
    if queue.moves:
        queue = queue.fixed()
        st.query_params["view"] = queue.to_parameter()
    if view:
        queue = queue.about(view.spec.run, view.spec.base)
    if catalog.finished("evals") or catalog.finished("curated"):
        asked = review_panel(queue, sample_id)
        sample_id = asked.shown
        if asked.is_back:
            _back(queue, filters)
        if asked.nearest:
            show_nearest()
    st.title("What is known about this row" if sample_id else PAGE.title)
    if sample_id:
        _sample(catalog, view, sample_id)
    if wanted := _choose_sample(sample_id):
        open_sample(wanted, filters)


def _back(queue: Queue, filters: FilterSpec) -> NoReturn:
    """Go to the page that the review was started from."""
    pages = {path.stem for path in Path(__file__).parent.glob("[a-z]*.py")} - {Path(__file__).stem}
    if home := home_of(queue, st.query_params.get(CAME_FROM, ""), pages):
        page, parameters = home
        st.switch_page(f"app_pages/{page}.py", query_params=parameters)
    open_failures(filters)


def _sample(catalog: Catalog, view: View | None, sample_id: str) -> None:
    """Answers of all runs, the nearest training rows, and what curation decided."""
    runs, sets = tuple(catalog.finished("evals")), tuple(catalog.finished("curated"))
    asked = answers_of_all(runs, sample_id)
    decisions = row_decisions(sets, sample_id)
    answered = [item for item in asked if item.answer]
    if not answered and not decisions:
        _unknown(sample_id, asked)
        return
    if answered and (answer := answered[0].answer):
        say_where_images_are_missing(answered[0].run, answer.task)
    else:
        say_where_images_are_missing(decisions[0].folder)
    for item in _chosen_first(asked, view):
        _answer_card(item, role=_role(item.run, view))
    target = review_target(answered, decisions)
    keys = answered[0].answer.image_keys if answered and answered[0].answer else decisions[0].image_keys
    own = "" if target.kind == "evals" else decisions[0].folder.name
    st.page_link(
        "app_pages/find.py", label="Find similar failures and training rows", icon=":material/travel_explore:",
        query_params={"like": sample_id},
    )  # fmt: skip
    nearest_panel(sets, sample_id, keys, target.question, target.references, own)
    if sets:
        _curation(sets, answered, decisions, sample_id)
    same_in_terminal(_commands(answered, decisions, sample_id))


def _unknown(sample_id: str, asked: Sequence[RunAnswer]) -> None:
    with st.container(border=True):
        st.markdown("**No run and no curated set knows this id**")
        st.text(sample_id)
        st.caption("Ids look like source/split/number and are case-sensitive.")
    for item in asked:
        if item.problem:
            _answer_card(item, role="")


def _answer_card(given: RunAnswer, *, role: str) -> None:
    """One run's answer: verdict, extracted and raw text, status, every metric.

    Args:
        role: what the run is in the view, '' for nothing.
    """
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(given.run.name)
            if role:
                st.badge(role, color="gray")
            if given.answer:
                _verdict(given.answer)
        if given.answer:
            _answer(given.run, given.answer)
            _explanations(given.run, given.answer)
        else:
            problem(given.problem)


def _verdict(answer: Answer) -> None:
    if answer.correct is not None:
        st.badge("right" if answer.correct else "wrong", color="green" if answer.correct else "red")
    if answer.near:
        st.badge(f"fixable by scorer: {answer.near}", color="violet", help=NEAR_MISS_HELP[answer.near])
    if answer.status != "ok":
        known = answer.status if answer.status.isalpha() else "not ok"
        st.badge(known, color="orange", help="No usable answer; it counts as wrong.")
    if answer.truncated:
        st.badge(TRUNCATED, color="orange", help="The reply was cut off at the token limit.")


def _answer(run: Folder, answer: Answer) -> None:
    left, middle, right = st.columns([1, 1, 1])
    with left:
        _labelled("Extracted answer", "(nothing)" if answer.extracted is None else answer.extracted or "(empty)")
    with middle:
        _labelled("Raw output", answer.raw or "(empty)")
        if answer.error:
            _labelled("Error", answer.error)
    with right:
        names = titles(run)
        shown = [f"{names.get(name, name)} {value:.3g}" for name, value in answer.scores.items()]
        _labelled("Metrics", "\n".join(shown) or "(none)")


def _labelled(label: str, text: str) -> None:
    """A small label above a text from the data set."""
    with st.container(gap="xxsmall"):
        st.caption(label)
        st.text(text)


def _explanations(run: Folder, answer: Answer) -> None:
    """What the metrics compared: the answer as each rule normalises it, and what that matched."""
    names = titles(run)
    if found := metric_explanations(run, answer):
        table = pd.DataFrame(
            {
                "Compared by": [", ".join(names.get(name, name) for name in read.metrics) for read in found],
                "Normalised answer": [read.text for read in found],
                "Matched": [read.matched or "nothing" for read in found],
            }
        )
        st.dataframe(table, hide_index=True, key=f"read_{run.name}_{answer.task}")


def _chosen_first(asked: Sequence[RunAnswer], view: View | None) -> list[RunAnswer]:
    order = [folder.name for folder in (view.run, view.base) if folder] if view else []
    return sorted(asked, key=lambda item: order.index(item.run.name) if item.run.name in order else len(order))


def _role(run: Folder, view: View | None) -> str:
    if view is None or run.name not in (view.run.name, view.base.name if view.base else ""):
        return ""
    return "run" if run.name == view.run.name else "compared with"


def _curation(
    sets: tuple[Folder, ...], answered: list[RunAnswer], decisions: Sequence[RowDecision], sample_id: str
) -> None:
    st.subheader("What curation decided")
    for decision in decisions:
        curated_decision(decision)
    answer = answered[0].answer if answered else None
    for folder in sets:
        found = matches_of(folder, sample_id, answer.image_keys if answer else ())
        if answer:
            leaks(found)
        copies(found)


def _commands(answered: list[RunAnswer], decisions: Sequence[RowDecision], sample_id: str) -> str:
    lines = [commands.explain_answer(item.run, sample_id) for item in answered]
    return "\n".join([*lines, *(commands.explain_row(decision.folder, sample_id) for decision in decisions)])


def _choose_sample(shown: str) -> str:
    """A box that takes an id; returns it when it was entered, else ''."""
    label = "Go to another sample" if shown else "Id of a sample"
    row = st.form("choose_sample", border=False, width=560).container(horizontal=True, vertical_alignment="bottom")
    wanted = row.text_input(label, key="wanted_id", placeholder="source/split/number", icon=":material/search:")
    entered = row.form_submit_button("Open")
    if not shown:
        st.caption("Or open one from the gallery of failures.")
        st.page_link("app_pages/failures.py", label="Failures", icon=":material/grid_view:")
    return (wanted or "").strip() if entered else ""


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
