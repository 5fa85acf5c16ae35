"""The first row of the overview: one number per task with its interval, and what lies behind it.

Cards of training rows: image, question, answer, fate.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboards.components.format import (
    amount,
    as_label,
    corrected_text,
    difference,
    difference_interval,
    interval,
    metric_name,
)
from dashboards.components.navigation import open_sample_alone
from dashboards.components.provenance import DECISION_COLOURS, DECISION_WORDS
from dashboards.data.catalog import Folder
from dashboards.data.curated import Case
from dashboards.data.scores import Change, Score
from dashboards.images import thumb_url


def score_card(score: Score, change: Change | None) -> None:
    """One score with its interval, and the paired change with its own."""
    between = interval(score.low, score.high, is_share=score.is_share)
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.metric(
            as_label(metric_name(score.metric)) + " · " + as_label(score.task),
            amount(score.value, is_share=score.is_share),
            difference(change.difference, is_share=change.is_share) if change else None,
            delta_color="normal" if change and _is_certain(change) else "off",
            help="Change against the run compared with, on the rows of both; grey when its interval includes zero.",
        )
        st.text(f"95% interval {between}" if between else "no interval recorded")
        if score.corrected:
            st.text(corrected_text(score.corrected, is_share=score.is_share))
        answered = "" if score.coverage is None else f", {100 * score.coverage:.1f}% answered"
        st.caption(f"{score.n:,} rows{answered}")
        if change and change.low is not None and change.high is not None:
            ends = difference_interval(change.low, change.high, is_share=change.is_share)
            st.caption(f"change {ends} (95%)")


def count_card(label: str, value: str, *lines: str) -> None:
    """A count, and what it is part of."""
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.metric(label, value)
        for line in lines:
            st.text(line)


def _is_certain(change: Change) -> bool:
    return change.low is not None and change.high is not None and not change.low <= 0 <= change.high


def row_cards(folder: Folder, cases: Sequence[Case], key: str, notes: Sequence[str] = (), columns: int = 6) -> None:
    """Cards in a grid; ``notes`` is a line of ours for each, such as its value."""
    with st.grid(columns, gap="small"):
        for number, case in enumerate(cases):
            with st.container(border=True, gap="xxsmall"):
                st.image(thumb_url(folder, case.sample_id, case.image_keys, "tile"), width="stretch", alt="")
                if notes:
                    st.caption(notes[number])
                with st.container(horizontal=True, gap="xxsmall"):
                    st.badge(DECISION_WORDS.get(case.decision, "?"), color=DECISION_COLOURS.get(case.decision, "gray"))
                    if case.reason:
                        st.badge(as_label(case.reason), color="gray")
                st.text(f"{case.question}\n{case.answer}")
                if st.button("Open", key=f"{key}_{number}", type="tertiary"):
                    open_sample_alone(case.sample_id)
