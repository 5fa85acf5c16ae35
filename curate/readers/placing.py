"""The rows of a range get what depends on the rows before it: ids, and where a bad row is.

A range without bad rows, repeated ids made from content and `ids: position` is left as it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.readers.rows import ROWS, Row, bad_row_of
from curate.settings.sources import SourceSettings
from winnow.parquet.table_parts import Item
from winnow.parquet.tables import write_parquet
from winnow.rows.records import BadRow, with_id

# Raise it when the same range and place make other rows.
VERSION = 1


@dataclass(frozen=True)
class Place:
    """What is before a range.

    Attributes:
        settings: of the source.
        file: what a bad row's place begins with, if it is but a number.
        lines: of the file.
        positions: rows of the source, skipped ones among them.
        rows: of the source.
        last: source and split of the source's last good row; empty if there is none.
        repeats: how often an id made from content was there before, by the number of the row that has it again.
    """

    settings: SourceSettings
    file: str
    lines: int
    positions: int
    rows: int
    last: tuple[str, ...]
    repeats: dict[int, int] = field(default_factory=dict)

    def key(self, *, has_bad_rows: bool) -> list[Any] | None:
        """What the rows of a range depend on; None if they do not depend on their place."""
        numbered = self.settings.ids == "position"
        if not (has_bad_rows or self.repeats or numbered):
            return None
        settings = self.settings
        about = [settings.source or Path(settings.location).stem, settings.source or "", settings.split]
        of_bad_rows = [self.file, self.lines, self.positions, self.last, about] if has_bad_rows else None
        return [VERSION, of_bad_rows, sorted(self.repeats.items()), self.rows if numbered else None]

    def ids(self, rows: int) -> dict[int, str]:
        """What is added to ids, by the number of the row."""
        if self.settings.ids == "position":
            return {number: f"#{self.rows + number}" for number in range(rows)}
        return {number: f"-{before + 1}" for number, before in self.repeats.items()}

    def where(self, place: int | str) -> str:
        """The place of a bad row, by its number in the range if it does not know it."""
        return place if isinstance(place, str) else f"{self.file}{self.lines + place}"

    def of_parts(self, counts: Sequence[int]) -> Iterator[Place]:
        """What is before the rows of each of several parts; a bad row knows where it is in all of them."""
        start = 0
        for count in counts:
            repeats = {row - start: before for row, before in self.repeats.items() if start <= row < start + count}
            yield dataclasses.replace(self, rows=self.rows + start, repeats=repeats)
            start += count


def bad_row_in_range(place: int | str, row: BadRow, position: int, last: tuple[str, ...]) -> Row:
    """The columns of a bad row that does not know yet what is before its range.

    Args:
        place: the number of its line in the range, or where it is.
        position: in the range.
        last: source and split of the last good row in the range.
    """
    said = json.dumps([place, position, last])
    return ("", "", "", (), "", "", (), None, said, row.reason, "", "", "", False)


def place_rows(item: Item) -> None:
    """Write a part of rows: (the part of a range, its ``Place``)."""
    path, (part, place) = item
    table = pq.read_table(part, schema=ROWS)
    rows = {name: table[name].to_pylist() for name in ROWS.names}
    for number, reason in enumerate(rows["bad_row"]):
        if reason is not None:
            made = bad_row_of(_placed(rows["record"][number], reason, place), place.settings)
            for name, value in zip(ROWS.names, made, strict=True):
                rows[name][number] = value
    for number, added in place.ids(len(table)).items():
        if rows["bad_row"][number] is None:
            own = rows["sample_id"][number]
            rows["sample_id"][number] = f"{own}{added}"
            rows["record"][number] = with_id(rows["record"][number], own, f"{own}{added}")
    columns = [pa.array(rows[field.name], field.type) for field in ROWS]
    write_parquet(path, [pa.Table.from_arrays(columns, schema=ROWS)], ROWS)


def _placed(said: str, reason: str, place: Place) -> BadRow:
    where, position, last = json.loads(said)
    settings = place.settings
    source, split = last or place.last or (settings.source or "", settings.split)
    return BadRow(place.where(where), reason, place.positions + position, source, split)
