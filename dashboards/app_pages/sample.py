"""The sample page: everything that the folders on disk know about one id.

One sample in full: its image, its references, what every run said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from dashboards import state
from dashboards.components.commands import explain_answer, explain_row, same_in_terminal
from dashboards.components.format import metric_name, votes
from dashboards.components.navigation import sample_nav
from dashboards.components.notices import problem
from dashboards.components.provenance import copies, curated_fate, leaks, nearest_panel
from dashboards.components.review import review_bar
from dashboards.data.answers import Answer, RunAnswer
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.corrections import review_target
from dashboards.data.curated import RowDecision
from dashboards.data.filters import NEAR_MISS_HELP, View
from dashboards.images import thumb_url

Colour = Literal["green", "red", "orange", "blue", "gray"]


def labelled(label: str, text: str) -> None:
    """A small label of ours above a text of the data set's."""
    with st.container(gap="xxsmall"):
        st.caption(label)
        st.text(text)


def images(folder: Folder, sample_id: str, image_keys: Sequence[str | None]) -> None:
    """All images of a sample, below each other."""
    with st.container(key="images"):
        for number in range(max(len(image_keys), 1)):
            st.image(thumb_url(folder, sample_id, image_keys, "full", number), width="stretch", alt="")


def question_and_references(question: str, references: Sequence[str]) -> None:
    """The question, and each distinct reference with its votes."""
    with st.container(key="question"):
        st.text(question or "(no question)")
    counted = votes(references)
    if len(references) < 2:
        labelled("Reference", references[0] if references else "(none)")
    elif len(counted) == 1:
        labelled("References", f"{counted[0][0]}  (all {len(references)} the same)")
    else:
        table = pd.DataFrame({"Reference": [text for text, _ in counted], "Votes": [count for _, count in counted]})
        column = st.column_config.ProgressColumn(format="%d", min_value=0, max_value=len(references), width="small")
        st.dataframe(table, hide_index=True, column_config={"Votes": column}, key="references")


def slices(values: Mapping[str, str]) -> None:
    """Which slices a sample belongs to."""
    if values:
        labelled("Slices", "\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in values.items()))


def answer_card(said: RunAnswer, *, role: str) -> None:
    """One run's answer: verdict, extracted and raw text, status, every metric.

    Args:
        role: what the run is in the view, '' for none; our own word.
    """
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.text(said.run.name)
            if role:
                st.badge(role, color="gray")
            if said.answer:
                _verdict(said.answer)
        if said.answer:
            _answer(said.answer)
            _read(said.run, said.answer)
        else:
            problem(said.problem)


def _verdict(answer: Answer) -> None:
    if answer.correct is not None:
        st.badge("right" if answer.correct else "wrong", color="green" if answer.correct else "red")
    if answer.near:
        st.badge(f"fixable by scorer: {answer.near}", color="violet", help=NEAR_MISS_HELP[answer.near])
    if answer.status != "ok":
        known = answer.status if answer.status.isalpha() else "not ok"
        st.badge(known, color="orange", help="No usable answer; it counts as wrong.")


def _read(run: Folder, answer: Answer) -> None:
    """What the metrics compared: the answer as each rule normalises it, and what that matched."""
    if found := state.readings(run, answer):
        table = pd.DataFrame(
            {
                "Compared by": [", ".join(metric_name(name) for name in read.metrics) for read in found],
                "Normalised answer": [read.text for read in found],
                "Matched": [read.matched or "nothing" for read in found],
            }
        )
        st.dataframe(table, hide_index=True, key=f"read_{run.name}_{answer.task}")


def _answer(answer: Answer) -> None:
    left, middle, right = st.columns([1, 1, 1])
    with left:
        labelled("Extracted answer", "(nothing)" if answer.extracted is None else answer.extracted or "(empty)")
    with middle:
        labelled("Raw output", answer.raw or "(empty)")
        if answer.error:
            labelled("Error", answer.error)
    with right:
        shown = [f"{metric_name(name)} {value:.3g}" for name, value in answer.scores.items()]
        labelled("Metrics", "\n".join(shown) or "(none)")


def choose_sample(shown: str) -> str:
    """A box that takes an id; returns it when it was entered, else ''."""
    label = "Go to another sample" if shown else "Id of a sample"
    row = st.form("choose_sample", border=False, width=560).container(horizontal=True, vertical_alignment="bottom")
    wanted = row.text_input(label, key="wanted_id", placeholder="source/split/number", icon=":material/search:")
    entered = row.form_submit_button("Open")
    if not shown:
        st.caption("Or open one from the gallery of failures.")
        st.page_link("app_pages/failures.py", label="Failures", icon=":material/grid_view:")
    return (wanted or "").strip() if entered else ""


def show_sample(catalog: Catalog, view: View | None, sample_id: str) -> None:
    """Image, question, references, answers of all runs, and what curation said."""
    runs, sets = tuple(catalog.finished("evals")), tuple(catalog.finished("curated"))
    said = state.answers_of_all(runs, sample_id)
    fates = state.fates(sets, sample_id)
    answered = [item for item in said if item.answer]
    if view:
        sample_nav(view, next((item.answer for item in answered if item.run.name == view.run.name), None))
    if not answered and not fates:
        _unknown(sample_id, said)
        return
    left, right = st.columns([1, 3], gap="medium")
    with left:
        _images_and_slices(answered, fates)
        st.code(sample_id, language=None, wrap_lines=True)
    with right:
        subject = review_target(answered, fates)
        question_and_references(subject.question, subject.references)
        review_bar(subject)
        for item in _chosen_first(said, view):
            answer_card(item, role=_role(item.run, view))
        keys = answered[0].answer.image_keys if answered and answered[0].answer else fates[0].image_keys
        own = "" if subject.kind == "evals" else fates[0].folder.name
        nearest_panel(sets, sample_id, keys, subject.question, subject.references, own)
        if sets:
            _curation(sets, answered, fates, sample_id)
        same_in_terminal(_commands(answered, fates, sample_id))


def _commands(answered: list[RunAnswer], fates: list[RowDecision], sample_id: str) -> str:
    lines = [explain_answer(item.run, sample_id) for item in answered]
    return "\n".join([*lines, *(explain_row(fate.folder, sample_id) for fate in fates)])


def _images_and_slices(answered: list[RunAnswer], fates: list[RowDecision]) -> None:
    if answered and (answer := answered[0].answer):
        images(answered[0].run, answer.sample_id, answer.image_keys)
        slices(answer.slices)
    else:
        images(fates[0].folder, fates[0].sample_id, fates[0].image_keys)


def _chosen_first(said: list[RunAnswer], view: View | None) -> list[RunAnswer]:
    order = [folder.name for folder in (view.run, view.base) if folder] if view else []
    return sorted(said, key=lambda item: order.index(item.run.name) if item.run.name in order else len(order))


def _role(run: Folder, view: View | None) -> str:
    if view is None or run.name not in (view.run.name, view.base.name if view.base else ""):
        return ""
    return "run" if run.name == view.run.name else "compared with"


def _curation(sets: tuple[Folder, ...], answered: list[RunAnswer], fates: list[RowDecision], sample_id: str) -> None:
    st.subheader("What curation said")
    for fate in fates:
        curated_fate(fate)
    answer = answered[0].answer if answered else None
    for found in state.matches(sets, sample_id, answer.image_keys if answer else ()):
        if answer:
            leaks(found)
        copies(found)


def _unknown(sample_id: str, said: list[RunAnswer]) -> None:
    with st.container(border=True):
        st.markdown("**No run and no curated set knows this id**")
        st.text(sample_id)
        st.caption("Ids look like source/split/number and are case-sensitive.")
    for item in said:
        if item.problem:
            answer_card(item, role="")
