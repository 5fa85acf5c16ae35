"""Cards: scores, counts, training rows with their decision, and notices of what is missing or broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from dashboards.components.format import (
    amount,
    as_label,
    corrected_text,
    difference,
    difference_interval,
    interval,
)
from dashboards.components.navigation import open_sample_alone
from dashboards.data.catalog import MAKE, Catalog, Folder, Kind
from dashboards.data.curated import Case
from dashboards.data.scores import Change, Score
from dashboards.images import thumb_url

DECISION_WORDS = {"keep": "kept", "drop": "dropped", "flag": "kept and flagged"}
_DECISION_COLOURS: dict[str, Literal["green", "red", "orange"]] = {"keep": "green", "drop": "red", "flag": "orange"}


def score_card(score: Score, change: Change | None) -> None:
    """One score with its interval, and the paired change with its own."""
    between = interval(score.low, score.high, score.unit)
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.metric(
            as_label(score.title) + " · " + as_label(score.task),
            amount(score.value, score.unit),
            difference(change.difference, change.unit) if change else None,
            delta_color="normal" if change and _is_certain(change) else "off",
            help="Change against the run compared with, on the rows of both; grey when its interval includes zero.",
        )
        st.text(f"95% interval {between}" if between else "no interval recorded")
        if score.corrected:
            st.text(corrected_text(score.corrected, score.unit))
        answered = "" if score.coverage is None else f", {100 * score.coverage:.1f}% answered"
        st.caption(f"{score.n:,} rows{answered}")
        if score.unit != "%" and score.top is not None:
            st.caption(f"a perfect score is {amount(score.top, score.unit)}")
        if change and change.low is not None and change.high is not None:
            st.caption(f"change {difference_interval(change.low, change.high, change.unit)} (95%)")


def _is_certain(change: Change) -> bool:
    return change.low is not None and change.high is not None and not change.low <= 0 <= change.high


def count_card(label: str, value: str, *lines: str) -> None:
    """A count, and what it is part of."""
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.metric(label, value)
        for line in lines:
            st.text(line)


def decision_badge(decision: str) -> None:
    """What curation did with a row, as a badge."""
    st.badge(DECISION_WORDS.get(decision, "undecided"), color=_DECISION_COLOURS.get(decision, "gray"))


def row_cards(folder: Folder, cases: Sequence[Case], key: str, notes: Sequence[str] = (), columns: int = 6) -> None:
    """Training rows in a grid: image, question, answer, decision.

    Args:
        notes: a line for each card, such as its value.
    """
    with st.grid(columns, gap="small"):
        for number, case in enumerate(cases):
            with st.container(border=True, gap="xxsmall"):
                st.image(thumb_url(folder, case.sample_id, case.image_keys, "tile"), width="stretch", alt="")
                if notes:
                    st.caption(notes[number])
                with st.container(horizontal=True, gap="xxsmall"):
                    decision_badge(case.decision)
                    if case.reason:
                        st.badge(as_label(case.reason), color="gray")
                st.text(f"{case.question}\n{case.answer}")
                if st.button("Open", key=f"{key}_{number}", type="tertiary"):
                    open_sample_alone(case.sample_id)


_WHAT = {
    "evals": ("No evaluation yet", "Scores and answers appear here when a model has been evaluated."),
    "curated": ("No curated set yet", "The funnel appears here when a data set has been curated."),
    "runs": ("No training run yet", "The loss curve appears here when a model has been fine-tuned."),
}
_DEMO = {"evals": "make eval", "curated": "make curate", "runs": "make train"}


def nothing_yet(kind: Kind) -> None:
    """A notice that there is no finished folder of this kind, and what to run."""
    title, why = _WHAT[kind]
    with st.container(border=True):
        st.markdown(f"**{title}**")
        st.caption(why)
        st.code(f"{_DEMO[kind]}\n# or, with a recipe of your own\n{MAKE[kind]}", language="bash")


def problem(sentence: str) -> None:
    """Show an error sentence as plain text: it may hold names from data, which must not be read as Markdown."""
    with st.container(border=True):
        st.badge("Cannot be shown", icon=":material/error:", color="orange")
        st.text(sentence)


def broken_folders(catalog: Catalog) -> None:
    """List folders that are unfinished or damaged, each with the sentence that says how to finish it."""
    broken = catalog.broken()
    if not broken:
        return
    st.subheader("Not finished", help="Without a manifest there is no result: the run stopped, or is still going.")
    for folder in broken:
        problem(folder.problem)
