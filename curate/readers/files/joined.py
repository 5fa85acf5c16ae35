"""Join a second file to the rows of a layout that has two, without holding it in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.readers.files.json import RawRow, iter_document, read_at
from winnow.hash_index import HashIndex
from winnow.rows.records import BadRow

_USED = 1  # lowest bit of a stored number; the others are the offset


class JoinedAnnotations:
    """Rows of ``document[key]`` by their ``field``.

    While both files have the same order, as published ones do, they are read in step. From the first row that is
    out of step, a table of byte offsets (24 bytes a row) finds the rows.
    """

    def __init__(self, path: Path, key: str, field: str) -> None:
        self.path, self.key, self.field = path, key, field
        self._rows = iter_document(path, key)
        self._next: RawRow | BadRow | None = None
        self._read_to = -1  # offset of the last row that was read in step
        self._last: dict[str, Any] = {}
        self._index: HashIndex | None = None

    def find(self, own: str | int) -> dict[str, Any] | None:
        """The row with that id, or None."""
        if self._last.get(self.field) == own:  # several questions about one image
            return self._last
        found = self._in_step(own) if self._index is None else None
        if found is None:
            self._index = self._index or self._offsets()
            found = self._looked_up(own, self._index)
        self._last = found or {}
        return found

    def _in_step(self, own: str | int) -> dict[str, Any] | None:
        self._next = self._next or next(self._rows, None)
        if not isinstance(self._next, RawRow) or _id_of(self._next, self.field) != own:
            return None
        found: dict[str, Any] = self._next.value
        self._read_to, self._next = self._next.offset, None
        return found

    def _looked_up(self, own: str | int, index: HashIndex) -> dict[str, Any] | None:
        stored = index.get(str(own))
        value = read_at(self.path, stored >> 1) if stored is not None else None
        if stored is None or not isinstance(value, dict) or value.get(self.field) != own:
            return None
        index.put(str(own), stored | _USED)
        return value

    def left_over(self) -> Iterator[BadRow]:
        """Rows that no ``find`` has returned: their id was not asked for, is missing, or is a repeated one."""
        if self._index is None:
            if self._next is not None:
                yield self._unused(self._next)
            for row in self._rows:
                yield self._unused(row)
            return
        for row in iter_document(self.path, self.key):
            own = None if isinstance(row, BadRow) else _id_of(row, self.field)
            if isinstance(row, BadRow) or own is None or self._index.get(str(own)) != (row.offset << 1) | _USED:
                yield self._unused(row)

    def _offsets(self) -> HashIndex:
        index = HashIndex()
        for row in iter_document(self.path, self.key):
            if isinstance(row, RawRow) and (own := _id_of(row, self.field)) is not None:
                index.add(str(own), row.offset << 1 | (_USED if row.offset <= self._read_to else 0))
        return index

    def _unused(self, row: RawRow | BadRow) -> BadRow:
        if isinstance(row, BadRow):
            return row
        own = _id_of(row, self.field)
        about = f"{self.field} {own!r} belongs to no row" if own is not None else f"no {self.field!r}"
        return BadRow(row.where, f"{about}, or was there before", row.position)


def _id_of(row: RawRow, field: str) -> str | int | None:
    found = row.value.get(field) if isinstance(row.value, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None
