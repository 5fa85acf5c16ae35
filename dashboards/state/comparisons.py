"""Runs against each other, and kinds of rows against the rest."""

from __future__ import annotations

import streamlit as st

from dashboards.data import comparison as matrix
from dashboards.data import comparison as ranking
from dashboards.data import scores as compare
from dashboards.data.catalog import Folder
from dashboards.data.comparison import ReviewedRow, reviewed_rows
from dashboards.data.scores import Score
from dashboards.state.evaluations import marks, pairing, predictions
from dashboards.state.folders import connection
from evalsuite.statistics import Ranking


@st.cache_data(max_entries=64, show_spinner=False)
def changes(run: Folder, base: Folder, scores: tuple[Score, ...]) -> list[compare.Change]:
    """What changed in these scores from ``base`` to ``run``, with intervals."""
    return compare.changes(connection(), predictions(run), predictions(base), pairing(run, base), scores)


@st.cache_data(max_entries=64, show_spinner="Comparing slices")
def slices(folder: Folder, task: str) -> Ranking:
    """The slices of one task of a run, most excess errors first."""
    return ranking.rank_slices(connection(), predictions(folder), marks(folder), task)


@st.cache_data(max_entries=64, show_spinner="Comparing row by row")
def flips(run: Folder, base: Folder, task: str) -> matrix.Flips | None:
    """Two runs on one task, row by row."""
    return matrix.flips(connection(), predictions(run), pairing(run, base), task)


@st.cache_data(max_entries=16, show_spinner=False)
def touched(run: Folder, base: Folder, ids: tuple[str, ...]) -> list[ReviewedRow]:
    """What two runs said about the rows with these ids."""
    return reviewed_rows(connection(), predictions(run), predictions(base), ids)
