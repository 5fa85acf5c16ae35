"""Everything that the folders on disk know about one id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from dashboards.components import commands
from dashboards.components.cards import problem
from dashboards.components.commands import same_in_terminal
from dashboards.components.filters import chosen_view
from dashboards.components.format import votes
from dashboards.components.navigation import Page, carried_filters, open_sample, sample_nav
from dashboards.components.provenance import copies, curated_decision, leaks, nearest_panel
from dashboards.components.review import review_bar
from dashboards.data.answers import Answer, RunAnswer, answers_of_all
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.curated import RowDecision, row_decisions
from dashboards.data.duplicates import matches_of
from dashboards.data.filters import NEAR_MISS_HELP, View
from dashboards.data.predictions import TRUNCATED
from dashboards.data.reviews import review_target
from dashboards.data.scores import metric_explanations, titles
from dashboards.images import thumb_url
from dashboards.settings import data_root

PAGE = Page(3, "Sample", ":material/image_search:")


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    sample_id = st.query_params.get("id", "")
    filters = carried_filters()
    view = chosen_view(catalog)
    if view:
        filters = replace(filters, run=view.spec.run, base=view.spec.base)
        view = replace(view, spec=filters)
    st.title(PAGE.title)
    if sample_id:
        _sample(catalog, view, sample_id)
    if wanted := _choose_sample(sample_id):
        open_sample(wanted, filters)


def _sample(catalog: Catalog, view: View | None, sample_id: str) -> None:
    """Image, question, references, answers of all runs, and what curation decided."""
    runs, sets = tuple(catalog.finished("evals")), tuple(catalog.finished("curated"))
    asked = answers_of_all(runs, sample_id)
    decisions = row_decisions(sets, sample_id)
    answered = [item for item in asked if item.answer]
    if view:
        sample_nav(view, next((item.answer for item in answered if item.run.name == view.run.name), None))
    if not answered and not decisions:
        _unknown(sample_id, asked)
        return
    left, right = st.columns([1, 3], gap="medium")
    with left:
        _images_and_slices(answered, decisions)
        st.code(sample_id, language=None, wrap_lines=True)
    with right:
        target = review_target(answered, decisions)
        _question_and_references(target.question, target.references)
        review_bar(target)
        for item in _chosen_first(asked, view):
            _answer_card(item, role=_role(item.run, view))
        keys = answered[0].answer.image_keys if answered and answered[0].answer else decisions[0].image_keys
        own = "" if target.kind == "evals" else decisions[0].folder.name
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


def _images_and_slices(answered: list[RunAnswer], decisions: Sequence[RowDecision]) -> None:
    if answered and (answer := answered[0].answer):
        _images(answered[0].run, answer.sample_id, answer.image_keys)
        _slices(answer.slices)
    else:
        _images(decisions[0].folder, decisions[0].sample_id, decisions[0].image_keys)


def _images(folder: Folder, sample_id: str, image_keys: Sequence[str | None]) -> None:
    """All images of a sample, below each other."""
    with st.container(key="images"):
        for number in range(max(len(image_keys), 1)):
            st.image(thumb_url(folder, sample_id, image_keys, "full", number), width="stretch", alt="")


def _slices(values: Mapping[str, str]) -> None:
    """Which slices a sample belongs to."""
    if values:
        _labelled("Slices", "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in values.items()))


def _question_and_references(question: str, references: Sequence[str]) -> None:
    """The question, and each distinct reference with its votes."""
    with st.container(key="question"):
        st.text(question or "(no question)")
    counted = votes(references)
    if len(references) < 2:
        _labelled("Reference", references[0] if references else "(none)")
    elif len(counted) == 1:
        _labelled("References", f"{counted[0][0]}  (all {len(references)} the same)")
    else:
        table = pd.DataFrame({"Reference": [text for text, _ in counted], "Votes": [count for _, count in counted]})
        column = st.column_config.ProgressColumn(format="%d", min_value=0, max_value=len(references), width="small")
        st.dataframe(table, hide_index=True, column_config={"Votes": column}, key="references")


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
