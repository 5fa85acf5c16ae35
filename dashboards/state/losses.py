"""Losses of training runs."""

from __future__ import annotations

import streamlit as st

from dashboards.data import training
from dashboards.data import training as losses
from dashboards.data.catalog import Folder
from dashboards.state.folders import connection


@st.cache_data(max_entries=64, show_spinner=False)
def loss_curve(folder: Folder) -> list[training.LossPoint]:
    """The loss curve of a training run."""
    return training.loss_curve(connection(), folder)


@st.cache_resource(max_entries=4, show_spinner=False)
def _row_losses(folder: Folder) -> losses.RowLosses:
    return losses.read_losses(connection(), folder)


@st.cache_data(max_entries=64, show_spinner=False)
def losses_by_source(folder: Folder) -> list[losses.SourceLoss]:
    """Losses of a run's sources."""
    return losses.by_source(_row_losses(folder))


@st.cache_data(max_entries=64, show_spinner=False)
def losses_over_epochs(folder: Folder) -> list[training.EpochLoss]:
    """Mean losses of a run's sources, epoch by epoch."""
    return training.losses_over_epochs(connection(), folder)


@st.cache_data(max_entries=64, show_spinner=False)
def highest_losses(folder: Folder, source: str, offset: int, count: int) -> list[losses.Loss]:
    """A page of the rows with the highest losses."""
    return losses.highest(connection(), folder, _row_losses(folder), source, offset, count)
