"""Thresholds over stored signals."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboards.data import curated
from dashboards.data import thresholds as previews
from dashboards.data import thresholds as signals
from dashboards.data.catalog import Folder
from dashboards.data.thresholds import Threshold, movable
from dashboards.state.curated import fired
from dashboards.state.folders import connection


@st.cache_resource(max_entries=8, show_spinner=False)
def _rules(folder: Folder) -> signals.Rules:
    return signals.read_rules(folder)


@st.cache_resource(max_entries=4, show_spinner="Reading stored signals")
def _facts(folder: Folder, rule: str) -> signals.Facts:
    return signals.load_facts(folder, _rules(folder), rule)


@st.cache_resource(max_entries=4, show_spinner=False)
def _rest(folder: Folder, rule: str) -> previews.Rest:
    return previews.read_rest(folder, _rules(folder), fired(folder), rule)


def thresholds(folder: Folder) -> list[Threshold]:
    """The numbers of a set's rules that can be moved."""
    return movable(_rules(folder).checked)


@st.cache_resource(max_entries=4, show_spinner=False)
def threshold_values(folder: Folder, threshold: Threshold) -> np.ndarray:
    """What a threshold compares, one value a row and image."""
    return previews.values(_facts(folder, threshold.rule), threshold)


@st.cache_resource(max_entries=4, show_spinner=False)
def _distinct(folder: Folder, threshold: Threshold) -> tuple[np.ndarray, np.ndarray]:
    return previews.distinct(threshold_values(folder, threshold))


@st.cache_data(max_entries=32, show_spinner=False)
def threshold_histogram(folder: Folder, threshold: Threshold) -> previews.Histogram:
    """Distribution of what a threshold compares."""
    return previews.histogram(threshold_values(folder, threshold))


@st.cache_data(max_entries=256, show_spinner=False)
def threshold_preview(folder: Folder, threshold: Threshold, number: float) -> previews.Preview:
    """What a rule does with another number."""
    rule = threshold.rule
    return previews.preview(_rules(folder), _facts(folder, rule), fired(folder), _rest(folder, rule), threshold, number)


@st.cache_data(max_entries=256, show_spinner=False)
def rows_near(
    folder: Folder, threshold: Threshold, number: float, count: int
) -> tuple[list[tuple[curated.Case, float]], list[tuple[curated.Case, float]]]:
    """Rows just below and just above a number, with their values."""
    found = previews.nearest_rows(_facts(folder, threshold.rule), _distinct(folder, threshold), number, count)
    below, above = (
        list(
            zip(curated.cases_at(connection(), folder, [place for place, _ in side]), [v for _, v in side], strict=True)
        )
        for side in found
    )
    return below, above
