"""Queries behind Streamlit's caches. Keys hold the folders' fingerprints, so a changed file is a miss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from curate.errors import UserError
from dashboards.corrections.history import Decision, read_decisions
from dashboards.query import compare, failures, neighbors, rows, samples, training
from dashboards.query import decisions as curation
from dashboards.query import flips as pairing
from dashboards.query import groups as duplicates
from dashboards.query import readings as reading
from dashboards.query import slices as ranking
from dashboards.query import thresholds as tuning
from dashboards.query.applied import applied as fates_of_lines
from dashboards.query.catalog import Catalog, Folder, scan
from dashboards.query.engine import Connection, connect
from dashboards.query.filters import Outcome
from dashboards.query.matches import Matches, matches_of
from dashboards.query.scores import Score
from dashboards.query.tables import Predictions, open_predictions
from dashboards.query.views import View
from dashboards.settings import data_root
from evalsuite.statistics import Ranking


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
def funnel(folder: Folder) -> curation.Funnel:
    """The funnel of a curated set."""
    return curation.funnel(connection(), folder)


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


@st.cache_data(max_entries=256, show_spinner=False)
def readings(run: Folder, answer: failures.Answer) -> list[reading.Read]:
    """What each metric compared of an answer; nothing where the run's manifest cannot say."""
    try:
        return reading.readings(run, answer)
    except UserError:  # the answer itself is still worth showing
        return []


@st.cache_data(max_entries=64, show_spinner=False)
def fates(sets: tuple[Folder, ...], sample_id: str) -> list[curation.Fate]:
    """What every curated set that saw a sample decided about it."""
    found = [curation.fate_of(connection(), folder, sample_id) for folder in sets]
    return [fate for fate in found if fate]


@st.cache_data(max_entries=64, show_spinner=False)
def matches(sets: tuple[Folder, ...], sample_id: str, image_keys: tuple[str | None, ...]) -> list[Matches]:
    """The training rows that each curated set matched to a row and its pictures."""
    return [matches_of(connection(), folder, sample_id, image_keys) for folder in sets]


@st.cache_data(max_entries=64, show_spinner="Comparing with the training pictures")
def nearest(
    folder: Folder, image_key: str, question: str, references: tuple[str, ...], of_training: bool
) -> neighbors.Nearest:
    """The training pictures nearest to a picture."""
    cache = data_root() / "cache"
    return neighbors.nearest(connection(), cache, folder, image_key, question, references, of_training=of_training)


@st.cache_data(max_entries=64, show_spinner=False)
def changes(run: Folder, base: Folder, scores: tuple[Score, ...]) -> list[compare.Change]:
    """What changed in these scores from ``base`` to ``run``, with intervals."""
    return compare.changes(connection(), predictions(run), predictions(base), scores)


@st.cache_resource(max_entries=2, show_spinner="Reading stored signals")
def signals(folder: Folder) -> tuning.Signals:
    """What the rules of a curated set ask, in memory; shared by all sessions."""
    return tuning.load_signals(connection(), folder)


def thresholds(folder: Folder) -> list[tuning.Threshold]:
    """The numbers of a set's rules that can be moved."""
    return tuning.thresholds(signals(folder).rules)


@st.cache_resource(max_entries=8, show_spinner=False)
def threshold_values(folder: Folder, threshold: tuning.Threshold) -> np.ndarray:
    """What a threshold compares, one value a row and picture."""
    return tuning.values(signals(folder), threshold)


@st.cache_data(max_entries=32, show_spinner=False)
def threshold_histogram(folder: Folder, threshold: tuning.Threshold) -> tuning.Histogram:
    """Distribution of what a threshold compares."""
    return tuning.histogram(threshold_values(folder, threshold))


@st.cache_data(max_entries=256, show_spinner=False)
def threshold_preview(folder: Folder, threshold: tuning.Threshold, number: float) -> tuning.Preview:
    """What a rule does with another number."""
    return tuning.preview(signals(folder), threshold, number)


@st.cache_data(max_entries=256, show_spinner=False)
def rows_near(
    folder: Folder, threshold: tuning.Threshold, number: float, count: int
) -> tuple[list[tuple[rows.Case, float]], list[tuple[rows.Case, float]]]:
    """Rows just below and just above a number, with their values."""
    sides = tuning.nearest_rows(signals(folder), threshold_values(folder, threshold), number, count)
    below, above = (
        list(zip(rows.cases_at(connection(), folder, [place for place, _ in side]), [v for _, v in side], strict=True))
        for side in sides
    )
    return below, above


@st.cache_data(max_entries=64, show_spinner=False)
def cases_of_rule(folder: Folder, rule: str, offset: int, count: int) -> tuple[list[rows.Case], int]:
    """A page of the rows on which a rule fired."""
    return rows.dropped_by(connection(), folder, rule, offset, count)


@st.cache_data(max_entries=64, show_spinner=False)
def cases(folder: Folder, ids: tuple[str, ...]) -> dict[str, rows.Case]:
    """The rows of a curated set with these ids."""
    return rows.cases_of(connection(), folder, ids)


@st.cache_data(max_entries=64, show_spinner=False)
def groups(folder: Folder, order: str, offset: int, count: int) -> tuple[list[duplicates.Group], int]:
    """A page of near-duplicate groups."""
    return duplicates.page_of_groups(connection(), folder, order, offset, count)


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


@st.cache_data(max_entries=64, show_spinner="Comparing slices")
def slices(folder: Folder, task: str) -> Ranking:
    """The slices of one task of a run, most excess errors first."""
    return ranking.rank_slices(connection(), predictions(folder), task)


@st.cache_data(max_entries=64, show_spinner="Comparing row by row")
def flips(run: Folder, base: Folder, task: str) -> pairing.Flips | None:
    """Two runs on one task, row by row."""
    return pairing.flips(connection(), predictions(run), predictions(base), task)


@st.cache_data(max_entries=16, show_spinner=False)
def touched(run: Folder, base: Folder, ids: tuple[str, ...]) -> list[samples.Touched]:
    """What two runs said about the rows with these ids."""
    return samples.touched(connection(), predictions(run), predictions(base), ids)
