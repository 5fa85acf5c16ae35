"""The rows of a set in blocks of equally many, as the row groups of its results are cut.

What a block holds is known without reading it: parts of a table have names that stand for their rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from winnow.table_parts import POSITION, Parts
from winnow.tables import ROWS_A_GROUP, read_batches

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
    """Reads blocks; a part that two blocks share is read once if they follow each other."""

    def __init__(self, rows: Parts, columns: Sequence[str]) -> None:
        self._folder = rows.folder
        self._columns = [name for name in columns if name != POSITION]
        self._with_position = POSITION in columns
        self._pieces = pieces_of_blocks(rows)
        self._part = functools.lru_cache(maxsize=2)(self._read)

    def block(self, number: int) -> pa.RecordBatch:
        """The rows of a block, with their ``position`` where it is asked for."""
        parts = [
            self._part(self._folder / name).slice(first, last - first) for name, first, last in self._pieces[number]
        ]
        rows = pa.concat_tables(parts).combine_chunks()
        if self._with_position:
            start = number * ROWS_A_GROUP
            rows = rows.add_column(0, POSITION, pa.array(range(start, start + len(rows)), pa.int64()))
        (batch,) = rows.to_batches(max_chunksize=ROWS_A_GROUP)
        return batch

    def _read(self, path: Path) -> pa.Table:
        return pa.Table.from_batches(list(read_batches(path, self._columns)))
