"""One sample in full: its image, its references, what every run said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from dashboards import state
from dashboards.images.route import thumb_url
from dashboards.query.catalog import Folder
from dashboards.query.failures import Answer
from dashboards.query.samples import Said
from dashboards.query.strictness import NEAR_HELP
from dashboards.widgets.notice import problem
from dashboards.widgets.numbers import metric_name, votes

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


def said_by(said: Said, *, role: str) -> None:
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
        st.badge(f"fixable by scorer: {answer.near}", color="violet", help=NEAR_HELP[answer.near])
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
