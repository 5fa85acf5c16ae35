"""Reviewers' decisions, and what the curations made of them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards.data.catalog import Folder
from dashboards.data.reviews import Decision, read_decisions
from dashboards.data.reviews import applied as fates_of_lines
from dashboards.state.folders import corrections_folder


def decisions() -> list[Decision]:
    """All decisions of all reviewers, the newest first; read again whenever a file of them changed."""
    folder = corrections_folder()
    return _decisions(folder, tuple((str(path), path.stat().st_size) for path in sorted(folder.glob("*.jsonl"))))


@st.cache_resource(max_entries=4, show_spinner=False)
def _decisions(folder: Path, sizes: tuple[tuple[str, int], ...]) -> list[Decision]:
    """``sizes`` is the cache key: the files only ever grow."""
    return read_decisions(folder)


@st.cache_data(max_entries=16, show_spinner=False)
def applied(sets: tuple[Folder, ...]) -> dict[str, str]:
    """correction_id → what the curations made of it; ``elsewhere`` only if no set holds its row."""
    found: dict[str, str] = {}
    for folder in sets:
        found |= {
            line: fate for line, fate in fates_of_lines(folder).items() if fate != "elsewhere" or line not in found
        }
    return found


def corrections_export() -> bytes:
    """All lines of all reviewers, as they stand in the files."""
    return b"".join(path.read_bytes() for path in sorted(corrections_folder().glob("*.jsonl")))
