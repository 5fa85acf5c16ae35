"""A table in parts, each made by a pure function from its key: what is there already is not made again.

A key holds digests of what a part is made from and the settings that matter; the part is a Parquet file named by the
digest of its key. ``parts.json`` lists the parts in their order and is written last. So a killed run continues, work
may run in any number of processes or on any machine, and the table that results is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.files import digest_of, read_json, write_json
from winnow.tables import read_batches, row_count

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
        return f"{digest_of(self.key)[:32]}.parquet"


Run = Callable[[Sequence[tuple[Path, tuple[Any, ...]]]], Iterable[None]]


class Parts:
    """The parts of a table in a folder, in the order of the table's rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exists(self) -> bool:
        """Whether the table is finished."""
        return (self.folder / _STATE).is_file()

    def names(self) -> list[str]:
        """Files of the parts, in order; equal names have equal rows. Empty for a table that is not finished."""
        try:
            return [str(part["name"]) for part in read_json(self.folder / _STATE)]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def files(self) -> list[Path]:
        """Paths of the parts, in order."""
        return [self.folder / name for name in self.names()]

    def counts(self) -> list[int]:
        """Rows of each part."""
        return [int(part["rows"]) for part in read_json(self.folder / _STATE)] if self.exists() else []

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows of all parts."""
        for path in self.files():
            yield from read_batches(path, columns)

    def bring_up_to_date(self, tasks: Sequence[PartTask], run: Run) -> int:
        """Make the parts that are missing, then list all; parts that no task asks for are removed.

        Args:
            tasks: in the order of the table's rows.
            run: makes each (path, arguments), anywhere and in any order; it must write the path atomically.

        Returns:
            The number of parts that were made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = {task.name: task for task in tasks if not (self.folder / task.name).is_file()}
        for _ in run([(self.folder / name, task.args) for name, task in missing.items()]):
            pass
        names = [task.name for task in tasks]
        if missing or names != self.names():
            state = [{"name": name, "rows": row_count(self.folder / name)} for name in names]
            write_json(self.folder / _STATE, state)
        wanted = set(names)
        for path in self.folder.glob("*.parquet"):
            if path.name not in wanted:
                path.unlink()
        return len(missing)
