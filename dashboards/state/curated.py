"""What curated sets hold and decided."""

from __future__ import annotations

import streamlit as st

from dashboards.data import curated, duplicates, neighbors
from dashboards.data import curated as curation
from dashboards.data.catalog import Folder
from dashboards.data.curated import Fired, RowDecision, read_fired, row_decision
from dashboards.data.duplicates import Matches, matches_of
from dashboards.settings import data_root
from dashboards.state.folders import connection


@st.cache_resource(max_entries=4, show_spinner=False)
def fired(folder: Folder) -> Fired:
    """Which rules fired on which rows of a set, shared by all sessions: 24 MB for a million rows."""
    return read_fired(folder)


@st.cache_data(max_entries=64, show_spinner=False)
def funnel(folder: Folder) -> curation.Funnel:
    """The funnel of a curated set."""
    return curation.funnel(folder, fired(folder))


@st.cache_data(max_entries=64, show_spinner=False)
def fates(sets: tuple[Folder, ...], sample_id: str) -> list[RowDecision]:
    """What every curated set that saw a sample decided about it."""
    found = [row_decision(connection(), folder, sample_id) for folder in sets]
    return [fate for fate in found if fate]


@st.cache_data(max_entries=64, show_spinner=False)
def matches(sets: tuple[Folder, ...], sample_id: str, image_keys: tuple[str | None, ...]) -> list[Matches]:
    """The training rows that each curated set matched to a row and its images."""
    return [matches_of(connection(), folder, sample_id, image_keys) for folder in sets]


@st.cache_data(max_entries=64, show_spinner="Comparing with the training images")
def nearest(
    folder: Folder, image_key: str, question: str, references: tuple[str, ...], of_training: bool
) -> neighbors.Nearest:
    """The training images nearest to an image."""
    cache = data_root() / "cache"
    return neighbors.nearest(connection(), cache, folder, image_key, question, references, of_training=of_training)


@st.cache_data(max_entries=64, show_spinner=False)
def cases_of_rule(folder: Folder, rule: str, offset: int, count: int) -> list[curated.Case]:
    """A page of the rows on which a rule fired."""
    return curated.fired_on(connection(), folder, fired(folder), rule, offset, count)


@st.cache_data(max_entries=64, show_spinner=False)
def cases(folder: Folder, ids: tuple[str, ...]) -> dict[str, curated.Case]:
    """The rows of a curated set with these ids."""
    return curated.cases_of(connection(), folder, ids)


@st.cache_data(max_entries=64, show_spinner=False)
def groups(folder: Folder, order: str, offset: int, count: int) -> tuple[list[duplicates.Group], int]:
    """A page of near-duplicate groups."""
    return duplicates.page_of_groups(connection(), folder, order, offset, count)
