"""The answers of evaluations."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboards.data import answers as failures
from dashboards.data import answers as samples
from dashboards.data.answers import RunAnswer
from dashboards.data.catalog import Folder
from dashboards.data.filters import Outcome, View
from dashboards.data.predictions import Pairing, Predictions, RowIndex, open_predictions, pair, read_row_index
from dashboards.data.scores import MetricExplanation, metric_explanations
from dashboards.state.folders import connection
from winnow.errors import UserError


@st.cache_resource(max_entries=64, show_spinner=False)
def predictions(folder: Folder) -> Predictions:
    """Schema of an evaluation's predictions."""
    return open_predictions(connection(), folder.file("predictions.parquet"))


@st.cache_resource(max_entries=6, show_spinner=False)
def marks(folder: Folder) -> RowIndex:
    """An evaluation's rows as numbers, shared by all sessions: 21 MB for a million."""
    return read_row_index(connection(), predictions(folder))


@st.cache_resource(max_entries=6, show_spinner=False)
def pairing(run: Folder, base: Folder) -> Pairing:
    """Two runs joined row by row: 9 MB more for a million."""
    return pair(marks(run), marks(base))


def _pairing_of(view: View) -> Pairing | None:
    return pairing(view.run, view.base) if view.base else None


@st.cache_resource(max_entries=16, show_spinner=False)
def view_rows(view: View) -> np.ndarray:
    """Row numbers of a view in its order, read-only and shared: 4 MB for a million rows."""
    rows = failures.matching_rows(connection(), predictions(view.run), _pairing_of(view), view.spec)
    rows.setflags(write=False)
    return rows


@st.cache_data(max_entries=64, show_spinner=False)
def outcome_counts(view: View) -> dict[Outcome, int]:
    """Rows per outcome under the other filters of the view."""
    return failures.count_outcomes(connection(), predictions(view.run), _pairing_of(view), view.spec)


@st.cache_data(max_entries=64, show_spinner=False)
def filter_values(folder: Folder) -> dict[str, list[str]]:
    """Distinct values for the filter bar."""
    return failures.filter_values(connection(), predictions(folder))


@st.cache_data(max_entries=256, show_spinner=False)
def answers(view: View, rows: tuple[int, ...]) -> list[failures.Answer]:
    """The answers at these rows, with the baseline's beside them."""
    base = predictions(view.base) if view.base else None
    return failures.answers_at(connection(), predictions(view.run), base, rows)


@st.cache_data(max_entries=64, show_spinner=False)
def answers_of_all(runs: tuple[Folder, ...], sample_id: str) -> list[RunAnswer]:
    """What every run said about a sample."""
    return samples.answers_of_all(connection(), runs, sample_id)


@st.cache_data(max_entries=256, show_spinner=False)
def readings(run: Folder, answer: failures.Answer) -> list[MetricExplanation]:
    """What each metric compared of an answer; nothing where the run's manifest cannot say."""
    try:
        return metric_explanations(run, answer)
    except UserError:  # the answer itself is still worth showing
        return []
