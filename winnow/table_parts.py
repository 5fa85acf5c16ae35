"""A table in parts, each made by a pure function from its key: what is there already is not made again.

A key holds digests of what a part is made from and the settings that matter; the part is a Parquet file named by the
digest of its key. ``parts.json`` lists the parts in their order and is written last. So a killed run continues, work
may run in any number of processes or on any machine, and the table that results is the same.

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

from winnow.files import digest_of, read_json, write_json
from winnow.tables import ROWS_A_GROUP, read_batches, regrouped, row_count, sql_files

POSITION = "position"  # column of every table in parts: the number of the row, from 0
_STATE = "parts.json"


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
        """The file of the part."""
        return part_name(self.key)


def part_name(key: Any) -> str:
    """The file of the part that has this key."""
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

    def sql(self) -> str:
        """SQL that reads the rows of a finished table, in order, with their ``position``."""
        position = f"({self.starts()}::BIGINT[])[file_index::BIGINT + 1] + file_row_number AS {POSITION}"
        columns = f"SELECT {position}, * EXCLUDE (file_row_number)"
        return f"({columns} FROM read_parquet({sql_files(self.files())}, file_row_number = true))"

    def bring_up_to_date(self, tasks: Sequence[PartTask], run: Run) -> int:
        """Make the parts that are missing, then list all; parts that no task asks for are removed.

        Args:
            tasks: in the order of the table's rows.
            run: makes each (path, arguments), anywhere and in any order; it must write the path atomically.

        Returns:
            The number of parts that were made.
        """
        args = {task.name: task.args for task in tasks}
        missing = self.missing(args)
        for _ in run([(self.folder / name, args[name]) for name in missing]):
            pass
        self.finish([task.name for task in tasks])
        return len(missing)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The parts that are not there, each once; one of another size than when it was listed is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        listed = {name: size for name, _, size in self._parts()}
        found = []
        for name in dict.fromkeys(names):
            path = self.folder / name
            size = path.stat().st_size if path.is_file() else None
            if size is None or listed.get(name, size) != size:
                path.unlink(missing_ok=True)
                found.append(name)
        return found

    def finish(self, names: Sequence[str]) -> None:
        """List the parts, which are all there; others are removed."""
        if names != self.names():
            counted = {name: rows for name, rows, _ in self._parts()}
            parts = {name: counted[name] if name in counted else row_count(self.folder / name) for name in {*names}}
            sizes = {name: (self.folder / name).stat().st_size for name in parts}
            write_json(self.state, [[name, parts[name], sizes[name]] for name in names])
        wanted = {*names}
        for path in self.folder.glob("*.parquet"):
            if path.name not in wanted:
                path.unlink()

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
