"""Rows that a run has stored, streamed again as often as asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from curate.sample import Sample
from curate.workspace import read_batches, row_count
from winnow.records import from_record


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
