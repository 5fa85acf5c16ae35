"""The commands that give the numbers of a page in a terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from dashboards.data.catalog import Folder


def explain_answer(run: Folder, sample_id: str, task: str = "") -> str:
    """How an answer of a run scored."""
    return _line("evalsuite", "explain", _path(run), sample_id, *_option("--task", task))


def rank_slices(run: Folder, task: str = "") -> str:
    """The slices of a run."""
    return _line("evalsuite", "slices", _path(run), *_option("--task", task))


def compare_runs(base: Folder, run: Folder) -> str:
    """Two runs row by row."""
    return _line("evalsuite", "compare", _path(base), _path(run))


def explain_row(folder: Folder, sample_id: str) -> str:
    """Why a row of a curated set was kept, flagged or dropped."""
    return _line("curate", "explain", sample_id, "--curated", _path(folder))


def try_thresholds(folder: Folder) -> str:
    """Decide with a changed recipe beside a curated set, and list what changed."""
    beside = f"{_path(folder)}-tried"
    return "\n".join(
        (_line("curate", "decide", "RECIPE", "--into", beside), _line("curate", "diff", _path(folder), beside))
    )


def _line(*words: str) -> str:
    return shlex.join(words)


def _option(name: str, value: str) -> tuple[str, ...]:
    return (name, value) if value else ()


def _path(folder: Folder) -> str:
    """Relative where the folder lies below the current one, as recipes name it."""
    return str(folder.path.relative_to(Path.cwd()) if folder.path.is_relative_to(Path.cwd()) else folder.path)


def same_in_terminal(command: str) -> None:
    """Show a command; Streamlit puts a copy button beside it."""
    st.caption("The same in a terminal")
    st.code(command, language="bash", wrap_lines=True)
