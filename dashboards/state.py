"""Queries behind Streamlit's caches. Keys hold the folders' fingerprints, so a changed file is a miss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from dashboards.query import compare, decisions, failures, samples, training
from dashboards.query.catalog import Catalog, Folder, scan
from dashboards.query.engine import Connection, connect
from dashboards.query.filters import Outcome
from dashboards.query.matches import Matches, matches_of
from dashboards.query.scores import Score
from dashboards.query.tables import Predictions, open_predictions
from dashboards.query.views import View
from dashboards.settings import data_root


def catalog() -> Catalog:
    """What is on disk now; cheap, so that new and broken folders show at the next click."""
    return scan(data_root())


@st.cache_resource(max_entries=4, show_spinner=False)
def _connection(root: Path) -> Connection:
    return connect(root)


def connection() -> Connection:
    """The connection of this data folder, shared by all sessions; every query takes its own cursor."""
    return _connection(data_root())


@st.cache_resource(max_entries=64, show_spinner=False)
def predictions(folder: Folder) -> Predictions:
    """Schema of an evaluation's predictions."""
    return open_predictions(connection(), folder.file("predictions.parquet"))


@st.cache_resource(max_entries=16, show_spinner=False)
def view_rows(view: View) -> np.ndarray:
    """Row numbers of a view in its order, read-only and shared: 4 MB for a million rows."""
    base = predictions(view.base) if view.base else None
    rows = failures.matching_rows(connection(), predictions(view.run), base, view.spec)
    rows.setflags(write=False)
    return rows


@st.cache_data(max_entries=64, show_spinner=False)
def outcome_counts(view: View) -> dict[Outcome, int]:
    """Rows per outcome under the other filters of the view."""
    base = predictions(view.base) if view.base else None
    return failures.count_outcomes(connection(), predictions(view.run), base, view.spec)


@st.cache_data(max_entries=64, show_spinner=False)
def filter_values(folder: Folder) -> dict[str, list[str]]:
    """Distinct values for the filter bar."""
    return failures.filter_values(connection(), predictions(folder))


@st.cache_data(max_entries=64, show_spinner=False)
def funnel(folder: Folder) -> decisions.Funnel:
    """The funnel of a curated set."""
    return decisions.funnel(connection(), folder)


@st.cache_data(max_entries=64, show_spinner=False)
def loss_curve(folder: Folder) -> list[training.LossPoint]:
    """The loss curve of a training run."""
    return training.loss_curve(connection(), folder)


@st.cache_data(max_entries=256, show_spinner=False)
def answers(view: View, rows: tuple[int, ...]) -> list[failures.Answer]:
    """The answers at these rows, with the baseline's beside them."""
    base = predictions(view.base) if view.base else None
    return failures.answers_at(connection(), predictions(view.run), base, rows)


@st.cache_data(max_entries=64, show_spinner=False)
def answers_of_all(runs: tuple[Folder, ...], sample_id: str) -> list[samples.Said]:
    """What every run said about a sample."""
    return samples.answers_of_all(connection(), runs, sample_id)


@st.cache_data(max_entries=64, show_spinner=False)
def fates(sets: tuple[Folder, ...], sample_id: str) -> list[decisions.Fate]:
    """What every curated set that saw a sample decided about it."""
    found = [decisions.fate_of(connection(), folder, sample_id) for folder in sets]
    return [fate for fate in found if fate]


@st.cache_data(max_entries=64, show_spinner=False)
def matches(sets: tuple[Folder, ...], sample_id: str, image_keys: tuple[str | None, ...]) -> list[Matches]:
    """The training rows that each curated set matched to a row and its pictures."""
    return [matches_of(connection(), folder, sample_id, image_keys) for folder in sets]


@st.cache_data(max_entries=64, show_spinner=False)
def changes(run: Folder, base: Folder, scores: tuple[Score, ...]) -> list[compare.Change]:
    """What changed in these scores from ``base`` to ``run``, with intervals."""
    return compare.changes(connection(), predictions(run), predictions(base), scores)
