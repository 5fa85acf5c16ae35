"""What was found while reading a source that its rows alone do not show: fields without a role, assumptions, bad rows.

Readers say it row by row (``Sample.unclaimed``, ``Sample.notes``) and once a source (``OpenedSource.notes``);
``Counting`` counts it in the one pass over the rows. ``SourceFacts`` is what is stored with a curation.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from curate.readers.tables.image_column import ends_as_image
from winnow.rows.records import BadRow, Sample
from winnow.text import visible

_MAX_NAMES = 1000  # field names of a source; JSON rows may have keys without end
_MAX_NOTES = 50
_EXAMPLE = 60  # characters


class UnclaimedField(BaseModel):
    """A field that is kept under ``meta`` and has no role.

    Attributes:
        name: of the field.
        rows: in which it is filled: neither null nor blank nor empty.
        looks_like_images: rows in which it holds a path or URL with an image ending.
        example: the first value, at most 60 characters, without control characters.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    rows: int
    looks_like_images: int
    example: str


class RowNote(BaseModel):
    """What a reader assumed about some rows, or did to them.

    Attributes:
        note: one clause.
        rows: how many.
        example: id of the first one.
    """

    model_config = ConfigDict(frozen=True)
    note: str
    rows: int
    example: str


class SourceFacts(BaseModel):
    """What was found while reading one source.

    Attributes:
        location, layout: as in ``sources:`` of a recipe.
        rows: that were read.
        with_image: those of ``rows`` that have an image.
        bad_rows: that could not be read.
        first_bad: where and why the first of them could not be read, '' for none.
        fields: filled fields without a role, those of most rows first.
        notes: what was assumed about rows, or done to them.
        remarks: one sentence each about the source as a whole, such as an encoding that was assumed.
    """

    model_config = ConfigDict(frozen=True)
    location: str
    layout: str
    rows: int = 0
    with_image: int = 0
    bad_rows: int = 0
    first_bad: str = ""
    fields: tuple[UnclaimedField, ...] = ()
    notes: tuple[RowNote, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class Counted:
    """What was counted in a part of a source; parts are put together in order by ``Counting.join``.

    Attributes:
        rows, with_image, bad_rows: as of ``SourceFacts``.
        fields: name → rows, rows that look like images, example.
        notes: note → rows, number of the first of them in the part, its id.
    """

    rows: int = 0
    with_image: int = 0
    bad_rows: int = 0
    fields: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    notes: dict[str, tuple[int, int, str]] = field(default_factory=dict)


class Counting:
    """Counts what the rows of one source say; memory is bounded, whatever they hold.

    Args:
        limited: count no more than 1,000 fields and 50 notes; False for a part of a source, which has few rows.
    """

    def __init__(self, location: str, layout: str, remarks: Iterable[str] = (), *, limited: bool = True) -> None:
        self._about = {"location": location, "layout": layout, "remarks": tuple(remarks)}
        self._most = (_MAX_NAMES, _MAX_NOTES) if limited else (sys.maxsize, sys.maxsize)
        self._found = Counted()
        self._first_bad = ""

    def add(self, row: Sample | BadRow) -> None:
        """Count a row as its reader has made it."""
        found = self._found
        if isinstance(row, BadRow):
            found.bad_rows += 1
            self._first_bad = self._first_bad or f"{row.where}: {row.reason}"
            return
        number = found.rows + found.bad_rows
        found.rows += 1
        found.with_image += bool(row.image)
        for name in row.unclaimed:
            value = row.meta.get(name)
            if is_filled(value):
                example = "" if found.fields.get(name, (0, 0, ""))[2] else shortened(value)
                self._add_field(name, 1, _names_an_image(value), example)
        for note in row.notes:
            self._add_note(note, 1, number, row.id)

    def join(self, part: Counted, first_bad: str = "", ids: Mapping[int, str] | None = None) -> None:
        """Count a part that follows what is counted already.

        Args:
            first_bad: where and why its first bad row could not be read.
            ids: other ids that rows of the part have got, by number.
        """
        found = self._found
        found.rows += part.rows
        found.with_image += part.with_image
        found.bad_rows += part.bad_rows
        self._first_bad = self._first_bad or first_bad
        for name, counts in part.fields.items():
            self._add_field(name, *counts)
        for note, (rows, number, first) in part.notes.items():
            self._add_note(note, rows, number, (ids or {}).get(number, first))

    def counted(self) -> Counted:
        """What was counted so far, to be joined."""
        return self._found

    def _add_field(self, name: str, rows: int, images: int, example: str) -> None:
        fields = self._found.fields
        if name in fields or len(fields) < self._most[0]:
            before = fields.get(name, (0, 0, ""))
            fields[name] = (before[0] + rows, before[1] + images, before[2] or example)

    def _add_note(self, note: str, rows: int, number: int, first: str) -> None:
        notes = self._found.notes
        if note in notes or len(notes) < self._most[1]:
            before = notes.get(note, (0, number, first))
            notes[note] = (before[0] + rows, *before[1:])

    def facts(self) -> SourceFacts:
        """What was counted so far."""
        found = self._found
        fields = [
            UnclaimedField(name=name, rows=rows, looks_like_images=images, example=example)
            for name, (rows, images, example) in found.fields.items()
        ]
        return SourceFacts.model_validate(
            {
                **self._about,
                "rows": found.rows,
                "with_image": found.with_image,
                "bad_rows": found.bad_rows,
                "first_bad": self._first_bad,
                "fields": sorted(fields, key=lambda each: -each.rows),
                "notes": [
                    RowNote(note=note, rows=rows, example=first) for note, (rows, _, first) in found.notes.items()
                ],
            }
        )


def is_filled(value: Any) -> bool:
    """Whether a field says anything: it is neither null, NaN, blank nor empty."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, float):
        return not math.isnan(value)
    return value is not None and value not in ([], {}, ())


def shortened(value: Any) -> str:
    """A value as one short line that is safe on a terminal."""
    if isinstance(value, str):
        text = value[: 4 * _EXAMPLE]
    elif isinstance(value, int) and value.bit_length() > 256:  # beyond 4,300 digits Python writes none
        return f"a whole number of {value.bit_length():,} bits"
    elif isinstance(value, list | Mapping):
        text = "".join(_pieces(value))
    else:
        text = str(value)
    line = visible(" ".join(text.split()))
    return line if len(line) <= _EXAMPLE else f"{line[: _EXAMPLE - 1]}…"


def _pieces(value: Any) -> Iterable[str]:
    """The beginning of the JSON text of a value."""
    length = 0
    try:
        for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
            yield piece[: 4 * _EXAMPLE]
            length += len(piece)
            if length > _EXAMPLE:
                return
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        yield "…"


def _names_an_image(value: Any) -> bool:
    """Whether it is a path or URL with an image ending, or a list that starts with one."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, str) and ends_as_image(value)
