"""What is on disk now, and the connection that reads it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards.data.catalog import Catalog, scan
from dashboards.data.engine import Connection, connect
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


def corrections_folder() -> Path:
    """Where reviewers' decisions are appended."""
    return data_root() / "corrections"
