"""Rows of one task in columns: stored ones are read batch by batch, whenever a column is looked at.

A million rows as dictionaries take more than a gigabyte; here only the columns that scoring adds are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evalsuite.metrics.base import Row
from evalsuite.store import BASE_SCHEMA, SLICE, open_predictions

BATCH = 1 << 15  # rows that are Python objects at a time
Mask = NDArray[np.bool_]
T = TypeVar("T")


class Lazy(Sequence[T]):
    """A sequence that is made batch by batch, each time it is iterated; only the batch last made is kept."""

    def __init__(self, length: int, batches: Callable[[], Iterator[Sequence[T]]]) -> None:
        self._length, self._batches = length, batches
        self._first, self._kept, self._rest = 0, (), iter(())  # type: tuple[int, Sequence[T], Iterator[Sequence[T]]]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        if len(self._kept) == self._length:
            return iter(self._kept)
        return chain.from_iterable(self._batches())

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(self._length))]
        number = range(self._length)[place]
        if number < self._first or not self._kept:
            self._first, self._kept, self._rest = 0, (), self._batches()
        while number >= self._first + len(self._kept):
            self._first += len(self._kept)
            self._kept = next(self._rest)
        return self._kept[number - self._first]


class Source(Protocol):
    """Where rows are kept."""

    @property
    def schema(self) -> pa.Schema:
        """The stored columns."""

    def __len__(self) -> int: ...

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """All rows in order, a batch at a time, with these of the stored columns."""


@dataclass(frozen=True)
class InMemory:
    """Rows as an Arrow table."""

    table: pa.Table

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        chosen = self.table.select(list(names))
        yield from (chosen.slice(first, BATCH) for first in range(0, len(chosen), BATCH))


@dataclass(frozen=True)
class OnDisk:
    """The rows of one task in a file of predictions.

    Attributes:
        groups: (row group, its rows of the task, whether it has no other rows), only where there are any.
    """

    file: pq.ParquetFile
    task: str
    groups: tuple[tuple[int, int, bool], ...]

    @property
    def schema(self) -> pa.Schema:
        return self.file.schema_arrow

    def __len__(self) -> int:
        return sum(count for _, count, _ in self.groups)

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        for group, _, alone in self.groups:
            columns = list(names) if alone else [*names, "task"]
            for batch in self.file.iter_batches(BATCH, row_groups=[group], columns=columns, use_threads=False):
                table = pa.Table.from_batches([batch])
                yield table if alone else table.filter(pc.equal(table["task"], self.task))


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """Rows of one task, in input order.

    Attributes:
        source: the rows as they are stored.
        kept: (stored rows,) which of them are here; None: all.
        added: columns beside or instead of the stored ones, (rows,) each.
        changed: column → place → value, instead of what is stored.
    """

    source: Source
    kept: Mask | None = None
    added: Mapping[str, pa.Array | pa.ChunkedArray] = field(default_factory=dict)
    changed: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """Columns with their types: those of every evaluation, those of metrics and slices after them."""
        types = {name.name: name.type for name in (*BASE_SCHEMA, *self.source.schema)}
        types |= {name: values.type for name, values in self.added.items()}
        return pa.schema(list(types.items()))

    def __len__(self) -> int:
        return len(self.source) if self.kept is None else int(self.kept.sum())

    def __iter__(self) -> Iterator[Row]:
        return self.dicts(self.schema.names)

    def dicts(self, names: Sequence[str]) -> Iterator[Row]:
        """The rows as dictionaries with these columns."""
        return chain.from_iterable(table.to_pylist() for table in self.batches(names))

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        if isinstance(place, slice):
            return self.take(range(*place.indices(len(self))))
        return self.take([range(len(self))[place]])[0]

    def take(self, places: Sequence[int]) -> list[Row]:
        """A few rows as dictionaries, in the order of their places."""
        wanted = np.unique(np.asarray(places, dtype=np.int64))
        found: dict[int, Row] = {}
        first = 0
        for table in self.batches(self.schema.names):
            here = wanted[(wanted >= first) & (wanted < first + len(table))]
            if len(here):
                found.update(zip(here.tolist(), table.take(here - first).to_pylist(), strict=True))
            first += len(table)
        return [found[int(place)] for place in places]

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """The rows in order, a batch at a time, with these columns; null where a row has no such column."""
        schema = self.schema
        stored = [name for name in names if name in self.source.schema.names and name not in self.added]
        place = first = 0
        for table in self.source.batches(stored or ["sample_id"]):  # without a column there is no number of rows
            count = len(table)
            if self.kept is not None:
                here = self.kept[place : place + count]
                table = table.filter(pa.array(here)) if not here.all() else table
            place += count
            columns = [self._column(name, table, first, schema) for name in names]
            if len(table):
                yield pa.table(columns, names=list(names))
            first += len(table)

    def _column(self, name: str, table: pa.Table, first: int, schema: pa.Schema) -> pa.ChunkedArray:
        if name in self.added:
            return self.added[name].slice(first, len(table))
        if name not in table.schema.names:
            kind = schema.field(name).type if name in schema.names else pa.string()
            return pa.nulls(len(table), kind)
        column = table.column(name)
        changed = {place - first: value for place, value in self.changed.get(name, {}).items()
                   if first <= place < first + len(table)}  # fmt: skip
        if not changed:
            return column
        values = column.to_pylist()
        for place, value in changed.items():
            values[place] = value
        return pa.array(values, column.type)

    def lazy(self, names: Sequence[str], made: Callable[..., Sequence[T]]) -> Lazy[T]:
        """One value a row from the columns ``names``: ``made`` takes those of a batch as lists."""
        return Lazy(
            len(self),
            lambda: (made(*(column.to_pylist() for column in table.columns)) for table in self.batches(names)),
        )

    def column(self, name: str) -> Lazy[Any]:
        """One column."""
        return self.lazy([name], lambda values: values)

    def where(self, mask: Mask) -> Rows:
        """The rows that ``mask`` picks; those of a changed column must not be picked from again."""
        if mask.all():
            return self
        kept = np.ones(len(self.source), dtype=bool) if self.kept is None else self.kept.copy()
        kept[kept] = mask
        picked = pa.array(mask)
        return replace(self, kept=kept, added={name: values.filter(picked) for name, values in self.added.items()})

    def with_columns(self, added: Mapping[str, pa.Array | pa.ChunkedArray]) -> Rows:
        """With these columns instead of those of the same names, or beside them."""
        return replace(self, added={**self.added, **added})

    def with_changed(self, name: str, values: Mapping[int, Any]) -> Rows:
        """With other values at some places of a column."""
        return replace(self, changed={**self.changed, name: values})


def rows_of(rows: Iterable[Row]) -> Rows:
    """Rows given as dictionaries; of their further keys only slices and ``seconds`` are kept."""
    if isinstance(rows, Rows):
        return rows
    listed = list(rows)
    slices = sorted({name for row in listed for name in row if name.startswith(SLICE)})
    schema = pa.schema([*BASE_SCHEMA, ("seconds", pa.float64()), *((name, pa.string()) for name in slices)])
    return Rows(InMemory(pa.Table.from_pylist(listed, schema=schema)))


def stored_rows(folder: Path, tasks: Iterable[str]) -> dict[str, Rows]:
    """The predictions of a finished evaluation by task; ``tasks`` come first, also those without a row.

    Raises:
        UserError: the file is missing, or does not hold predictions.
    """
    file = open_predictions(folder)
    groups: dict[str, list[tuple[int, int, bool]]] = {name: [] for name in tasks}
    for group in range(file.metadata.num_row_groups):
        found = pc.value_counts(file.read_row_group(group, columns=["task"])["task"]).to_pylist()
        for entry in found:
            groups.setdefault(entry["values"], []).append((group, entry["counts"], len(found) == 1))
    return {name: Rows(OnDisk(file, name, tuple(listed))) for name, listed in groups.items()}
