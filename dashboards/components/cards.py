"""Cards: scores, counts, training rows with their decision, and notices of what is missing or broken."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlencode

import streamlit as st

from dashboards.components.format import (
    DECISION_WORDS,
    amount,
    as_label,
    corrected_text,
    difference,
    difference_interval,
    interval,
)
from dashboards.data.catalog import MAKE, Catalog, Folder, Kind, lost_images
from dashboards.data.scores import Change, Score

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
            if score.corrected.can_only_improve:
                _only_wrong_answers(score.run, score.corrected.wrong)
        answered = "" if score.coverage is None else f", {100 * score.coverage:.1f}% answered"
        st.caption(f"{score.n:,} rows{answered}")
        if score.unit != "%" and score.top is not None:
            st.caption(f"a perfect score is {amount(score.top, score.unit)}")
        if change and change.low is not None and change.high is not None:
            st.caption(f"change {difference_interval(change.low, change.high, change.unit)} (95%)")


def _only_wrong_answers(run: str, count: int) -> None:
    """What a corrected score is worth when only failures were reviewed, and the way to a fair one."""
    st.caption(f"Only wrong answers were reviewed ({count:,}), which can only improve the score.")
    st.page_link(
        "app_pages/sample.py", label="Audit right and wrong ones", icon=":material/rule:",
        query_params={"view": urlencode({"list": "audit", "run": run})},
    )  # fmt: skip


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


def say_where_images_are_missing(folder: Folder, task: str = "") -> None:
    """A notice where the images of a curated set or of an evaluation's task are not to be found."""
    if sentence := lost_images(folder, task):
        problem(sentence)


def broken_folders(catalog: Catalog) -> None:
    """List folders that are unfinished or damaged, each with the sentence that says how to finish it."""
    broken = catalog.broken()
    if not broken:
        return
    st.subheader("Not finished", help="Without a manifest there is no result: the run stopped, or is still going.")
    for folder in broken:
        problem(folder.problem)
