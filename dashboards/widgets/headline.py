"""The first row of the overview: one number per task with its interval, and what lies behind it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboards.query.scores import Score
from dashboards.widgets.numbers import amount, difference, interval, metric_name


def score_card(score: Score, earlier: Score | None) -> None:
    """One score with its interval, and the change since ``earlier``."""
    between = interval(score.low, score.high, is_share=score.is_share)
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.metric(
            f"{metric_name(score.metric)} · {score.task}",
            amount(score.value, is_share=score.is_share),
            difference(score.value - earlier.value, is_share=score.is_share) if earlier else None,
        )
        st.text(f"95% interval {between}" if between else "no interval recorded")
        st.caption(f"n = {score.n:,}")


def count_card(label: str, value: str, *lines: str) -> None:
    """A count, and what it is part of."""
    with st.container(border=True, height="stretch", gap="xxsmall"):
        st.metric(label, value)
        for line in lines:
            st.text(line)


def score_cards(scores: Sequence[Score], base: Sequence[Score]) -> None:
    """One card per score; ``base`` gives the change."""
    before = {(score.task, score.metric): score for score in base}
    for score in scores:
        score_card(score, before.get((score.task, score.metric)))
