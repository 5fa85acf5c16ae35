"""A table in parts, each made by a pure function from its key: what is there already is not made again.

A key holds digests of what a part is made from and the settings that matter. The part is a Parquet file that is named
by what it holds, so that what is made from it depends on its rows and not on where they came from. ``parts.json`` lists
the parts in their order and is written last; ``.cache/made.json`` says which task has made which. So a killed run
continues, work may run in any number of processes or on any machine, and the table that results is the same.

A part does not know where its rows stand in the table: ``position`` is counted when it is read, so that a row added in
the middle changes no part but its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.files import digest_of, read_json, sha256_file, write_state
from winnow.parquet.tables import ROWS_A_GROUP, read_batches, regrouped, row_count, sql_files

POSITION = "position"  # column of every table in parts: the number of the row, from 0
_STATE, _MADE = "parts.json", ".cache/made.json"


@dataclass(frozen=True)
class PartTask:
    """One part to make.

    Attributes:
        key: JSON-able: everything that the part depends on, its function's version among it.
        args: picklable: what the function needs to make it.
    """

    key: Any
    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The file that the part is written to."""
        return part_name(self.key)


def part_name(key: Any) -> str:
    """The file to which the part with this key is written."""
    return f"{digest_of(key)[:32]}.parquet"


Item = tuple[Path, tuple[Any, ...]]
Run = Callable[[Sequence[Item]], Iterable[None]]


Make = Callable[[Item], None]
Runner = Callable[[Make], Run]  # how parts are made by a function of one item


def run_here(make: Make) -> Run:
    """A ``Runner`` that makes them in this process."""
    return lambda items: map(make, items)


class Parts:
    """The parts of a table in a folder, in the order of the table's rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exists(self) -> bool:
        """Whether the table is finished."""
        return self.state.is_file()

    def names(self) -> list[str]:
        """Files of the parts, in order; equal names have equal rows. Empty for a table that is not finished."""
        return [name for name, *_ in self._parts()]

    def files(self) -> list[Path]:
        """Paths of the parts, in order."""
        return [self.folder / name for name in self.names()]

    def counts(self) -> list[int]:
        """Rows of each part."""
        return [rows for _, rows, _ in self._parts()]

    def starts(self) -> list[int]:
        """Position of the first row of each part."""
        return list(itertools.accumulate(self.counts(), initial=0))[:-1]

    def row_count(self) -> int:
        """Number of rows."""
        return sum(self.counts())

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows of all parts; ``position`` is the first column of all, and any that ``columns`` names."""
        stored = None if columns is None else [name for name in columns if name != POSITION]
        names = columns
        start = 0
        for path in self.files():
            for batch in read_batches(path, stored):
                names = names or [POSITION, *batch.schema.names]
                if POSITION in names:
                    numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
                    found = [numbers if name == POSITION else batch.column(name) for name in names]
                    yield pa.RecordBatch.from_arrays(found, names)
                else:
                    yield batch
                start += batch.num_rows

    def blocks(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """``batches`` cut as a file of ``write_parquet`` with equally many rows is."""
        for table in regrouped(self.batches(columns)):
            yield from table.to_batches(max_chunksize=ROWS_A_GROUP)

    def sql(self, numbers: Sequence[int] | None = None) -> str:
        """SQL that reads the rows of a finished table, in order, with their ``position``.

        Args:
            numbers: only these parts, at least one.
        """
        files, first = self._files_and_first(self.starts(), numbers)
        columns = f"SELECT {first} + file_row_number AS {POSITION}, * EXCLUDE (file_row_number)"
        return f"({columns} FROM read_parquet({files}, file_row_number = true))"

    def sql_beside(self, others: Parts, numbers: Sequence[int] | None = None) -> str:
        """SQL that reads rows which say something about rows of another table, of which each part has one beside it:
        with ``position`` in place of ``row``, their number in the part.

        Args:
            numbers: only these parts, at least one.
        """
        files, first = self._files_and_first(others.starts(), numbers)
        return f"SELECT {first} + row AS {POSITION}, * EXCLUDE (row) FROM read_parquet({files})"

    def _files_and_first(self, starts: Sequence[int], numbers: Sequence[int] | None) -> tuple[str, str]:
        """SQL of some files, and of the position of the first row of each."""
        files = self.files()
        if numbers is not None:
            files, starts = [files[number] for number in numbers], [starts[number] for number in numbers]
        return sql_files(files), f"({[*starts]}::BIGINT[])[file_index::BIGINT + 1]"

    def missing(self, names: Iterable[str]) -> list[str]:
        """The parts that are not there, each once; one of another size than when it was listed is made again.

        Args:
            names: what ``PartTask.name`` gives; who makes a part writes it atomically to that file in ``folder``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = {name: size for name, _, size in self._parts()}
        made = self._made()
        found = []
        for name in dict.fromkeys(names):
            there = made.get(name)
            if (self.folder / name).is_file():
                continue
            if there is None or there not in sizes or _size(self.folder / there) != sizes[there]:
                found.append(name)
        return found

    def finish(self, names: Sequence[str]) -> None:
        """List the parts, which are all there; others are removed.

        Args:
            names: in the order of the table's rows.
        """
        before = self._made()
        made = {name: self._placed(name) or before[name] for name in dict.fromkeys(names)}
        if made != before:
            write_state(self.folder / _MADE, made)
        parts = [made[name] for name in names]
        if parts != self.names():
            known = {name: [rows, size] for name, rows, size in self._parts()}
            for name in {*parts} - known.keys():
                known[name] = [row_count(self.folder / name), (self.folder / name).stat().st_size]
            write_state(self.state, [[name, *known[name]] for name in parts])
        for path in self.folder.glob("*.parquet"):
            if path.name not in parts:
                path.unlink()

    def _placed(self, name: str) -> str | None:
        """Name a part that was just made by what it holds; None if none was."""
        path = self.folder / name
        if not path.is_file():
            return None
        found = f"{sha256_file(path)[:32]}.parquet"
        path.replace(self.folder / found)
        return found

    def _made(self) -> dict[str, str]:
        """Name of a task → file of the part that it has made."""
        try:
            return {str(name): str(file) for name, file in read_json(self.folder / _MADE).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    @property
    def state(self) -> Path:
        """The file that lists the parts; there only when the table is finished."""
        return self.folder / _STATE

    def _parts(self) -> list[tuple[str, int, int]]:
        """Name, rows and bytes of each part."""
        try:
            return [(str(name), int(rows), int(size)) for name, rows, size in read_json(self.state)]
        except (OSError, ValueError, TypeError):
            return []


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
