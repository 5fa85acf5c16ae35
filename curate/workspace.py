"""Where the files of one curation lie, and how Parquet is written so that equal rows give equal bytes.

Rows that a run has stored, streamed again as often as asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import duckdb

from curate.readers.images import UNFINISHED
from winnow.errors import UserError, disk_problem
from winnow.records import Sample, from_record
from winnow.tables import read_batches, remove_spilled, row_count


@dataclass(frozen=True)
class Workspace:
    """A curated folder: results at the top, intermediate tables under ``work/``."""

    folder: Path

    @property
    def work(self) -> Path:
        """Intermediate tables; safe to delete, made again by the next run."""
        return self.folder / "work"

    @property
    def rows(self) -> Path:
        """Every input row as it was read."""
        return self.work / "rows.parquet"

    @property
    def samples(self) -> Path:
        """Every input row after corrections, with its image keys."""
        return self.work / "corrected.parquet"

    @property
    def signals(self) -> Path:
        """Image and text signals."""
        return self.folder / "signals"

    @property
    def paths(self) -> Path:
        """Image path → image key or what is wrong with the file."""
        return self.signals / "paths.parquet"

    @property
    def text(self) -> Path:
        """Text signals by sample_id."""
        return self.signals / "text.parquet"

    @property
    def scores(self) -> Path:
        """Scores of prompt sets and heads by image_key, where the recipe has any."""
        return self.signals / "scores.parquet"

    @property
    def duplicate_images(self) -> Path:
        """Near-identical images: member, representative, distances."""
        return self.folder / "duplicates.parquet"

    @property
    def duplicate_rows(self) -> Path:
        """Rows that repeat or contradict another one."""
        return self.work / "duplicate_rows.parquet"

    @property
    def splits(self) -> Path:
        """The split of every row, where the recipe asks for splits."""
        return self.work / "splits.parquet"

    @property
    def contamination_rows(self) -> Path:
        """Rows that also occur in an evaluation set, before anything is decided."""
        return self.work / "contamination_rows.parquet"

    @property
    def contamination_counts(self) -> Path:
        """Per evaluation set: how large it is, and how many of its images were found."""
        return self.work / "contamination_counts.json"

    @property
    def contamination(self) -> Path:
        """Rows that also occur in an evaluation set, how they match, and their fate."""
        return self.folder / "contamination.parquet"

    @property
    def contamination_report(self) -> Path:
        """The same, counted per evaluation set."""
        return self.folder / "contamination.json"

    @property
    def corrections(self) -> Path:
        """What became of each reviewer's line."""
        return self.folder / "corrections.json"

    @property
    def decisions(self) -> Path:
        """One decision per row."""
        return self.folder / "decisions.parquet"

    def against(self, name: str) -> Workspace:
        """The evaluation set ``name``, read and measured."""
        return Workspace(self.folder / "against" / quote(name, safe=""))

    def image_parts(self) -> list[Path]:
        """Parquet parts of the image signals, in order."""
        return sorted(self.signals.glob("part-*.parquet"))


@contextlib.contextmanager
def of_this_version(space: Workspace) -> Iterator[None]:
    """Queries on stored signals that an earlier Winnow may have written.

    Raises:
        UserError: they lack a column that there is now.
    """
    try:
        yield
    except duckdb.BinderException as error:
        raise UserError(
            f"{space.folder}: was measured by another version of Winnow; bring it up to date with `curate run RECIPE`"
        ) from error


@contextlib.contextmanager
def sole_use(space: Workspace) -> Iterator[None]:
    """Hold the folder's lock, and clear what a killed run has half-written.

    Raises:
        UserError: another process is at work there, or the folder cannot be written.
    """
    try:
        space.work.mkdir(parents=True, exist_ok=True)
        lock = (space.work / "lock").open("w")
    except OSError as error:
        problem = disk_problem(error, space.folder) or f"{space.folder}: cannot be written ({error})"
        raise UserError(problem) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{space.folder}: another curate is at work there; wait for it, or end it") from None
        for leftover in _unfinished(space.folder):
            leftover.unlink()
        remove_spilled(space.work)
        yield


def _unfinished(folder: Path) -> Iterator[Path]:
    """Temporary files below a folder; does not walk through a store of images, which has its own place for them."""
    for where, folders, files in os.walk(folder):
        folders[:] = [Path(UNFINISHED).name] if Path(UNFINISHED).name in folders else folders
        yield from (Path(where, name) for name in files if name.startswith(".") and name.endswith(".tmp"))


class StoredPaths:
    """The image paths of stored rows, with repetition."""

    def __init__(self, table: Path) -> None:
        self._table = table

    def __iter__(self) -> Iterator[str]:
        for batch in read_batches(self._table, ["images"]):
            yield from batch.column("images").flatten().to_pylist()

    def __len__(self) -> int:
        return sum(len(batch.column("images").flatten()) for batch in read_batches(self._table, ["images"]))


class StoredSamples:
    """Stored rows as samples; rows that could not be read are left out."""

    def __init__(self, table: Path) -> None:
        self._table = table

    def __iter__(self) -> Iterator[Sample]:
        for batch in read_batches(self._table, ["sample_id", "record", "bad_row"]):
            for row in batch.to_pylist():
                if row["bad_row"] is None:
                    yield replace(from_record(json.loads(row["record"])), id=row["sample_id"])

    def __len__(self) -> int:
        return row_count(self._table)
