"""The rows of a set in blocks of equally many, as the row groups of its results are cut.

What a block holds is known without reading it: parts of a table have names that stand for their rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.parquet.table_parts import POSITION, Parts
from winnow.parquet.tables import ROWS_A_GROUP, read_batches

Piece = tuple[str, int, int]  # file of a part, its first row and the one after the last


def pieces_of_blocks(rows: Parts, names: Sequence[str] | None = None) -> list[list[Piece]]:
    """For each block, the pieces of parts that it consists of: equal pieces are equal rows.

    Args:
        names: of files that stand beside the parts, in place of theirs.
    """
    total = rows.row_count()
    blocks: list[list[Piece]] = [[] for _ in range(-(-total // ROWS_A_GROUP))]
    for name, start, count in zip(names or rows.names(), rows.starts(), rows.counts(), strict=True):
        end = start + count
        cuts = [start, *range(-(-(start + 1) // ROWS_A_GROUP) * ROWS_A_GROUP, end, ROWS_A_GROUP), end]
        for first, last in itertools.pairwise(cuts):
            if last > first:
                blocks[first // ROWS_A_GROUP].append((name, first - start, last - start))
    return blocks


class BlockReader:
    """Reads blocks and parts of a table; those that follow each other are read once."""

    def __init__(self, rows: Parts, columns: Sequence[str]) -> None:
        self._files, self._starts = rows.files(), rows.starts()
        self._folder = rows.folder
        self._columns = [name for name in columns if name != POSITION]
        self._with_position = POSITION in columns
        self._pieces = pieces_of_blocks(rows)
        self._read = functools.lru_cache(maxsize=2)(self._table)

    def block(self, number: int) -> pa.RecordBatch:
        """The rows of a block, with their ``position`` where it is asked for."""
        parts = [
            self._read(self._folder / name).slice(first, last - first) for name, first, last in self._pieces[number]
        ]
        return self._batch(pa.concat_tables(parts), number * ROWS_A_GROUP)

    def part(self, number: int) -> pa.RecordBatch:
        """The rows of a part, likewise; it has at least one."""
        return self._batch(self._read(self._files[number]), self._starts[number])

    def _batch(self, rows: pa.Table, start: int) -> pa.RecordBatch:
        rows = rows.combine_chunks()
        if self._with_position:
            rows = rows.add_column(0, POSITION, pa.array(range(start, start + len(rows)), pa.int64()))
        (batch,) = rows.to_batches()
        return batch

    def _table(self, path: Path) -> pa.Table:
        return pa.Table.from_batches(list(read_batches(path, self._columns)))


class Rows:
    """Reads the rows of a file of blocks by their positions; blocks that are read twice in a row are read once."""

    def __init__(self, path: Path, columns: list[str] | None = None) -> None:
        self._path, self._columns = path, columns
        self._group = functools.lru_cache(maxsize=4)(self._read)

    def between(self, start: int, end: int) -> pa.RecordBatch:
        """Those from one position to before another one, at least one."""
        numbers = range(start // ROWS_A_GROUP, -(-end // ROWS_A_GROUP))
        rows = pa.concat_tables([self._group(number) for number in numbers])
        (batch,) = rows.slice(start - numbers[0] * ROWS_A_GROUP, end - start).combine_chunks().to_batches()
        return batch

    def _read(self, number: int) -> pa.Table:
        with pq.ParquetFile(self._path) as table:
            return table.read_row_group(number, columns=self._columns)
