"""Losses of training runs."""

from __future__ import annotations

import streamlit as st

from dashboards.query import training
from dashboards.query.catalog import Folder
from dashboards.state.folders import connection


@st.cache_data(max_entries=64, show_spinner=False)
def loss_curve(folder: Folder) -> list[training.LossPoint]:
    """The loss curve of a training run."""
    return training.loss_curve(connection(), folder)


@st.cache_data(max_entries=64, show_spinner=False)
def losses_by_source(folder: Folder) -> list[training.SourceLoss]:
    """Losses of a run's sources."""
    return training.losses_by_source(connection(), folder)


@st.cache_data(max_entries=64, show_spinner=False)
def losses_over_epochs(folder: Folder) -> list[training.EpochLoss]:
    """Mean losses of a run's sources, epoch by epoch."""
    return training.losses_over_epochs(connection(), folder)


@st.cache_data(max_entries=64, show_spinner=False)
def highest_losses(folder: Folder, source: str, offset: int, count: int) -> tuple[list[training.Loss], int]:
    """A page of the rows with the highest losses."""
    return training.highest_losses(connection(), folder, source, offset, count)
