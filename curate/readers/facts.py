"""What was found while reading a source that its rows alone do not show: fields without a role, assumptions, bad rows.

Readers say it row by row (``Sample.unclaimed``, ``Sample.notes``) and once a source (``OpenedSource.notes``);
``Counting`` counts it in the one pass over the rows. ``SourceFacts`` is what is stored with a curation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from curate.readers.tables.image_column import ends_as_image
from winnow.records import BadRow, Sample
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


class Counting:
    """Counts what the rows of one source say; memory is bounded, whatever they hold."""

    def __init__(self, location: str, layout: str, remarks: Iterable[str] = ()) -> None:
        self._about = {"location": location, "layout": layout, "remarks": tuple(remarks)}
        self._rows = self._with_image = self._bad_rows = 0
        self._first_bad = ""
        self._fields: dict[str, tuple[int, int, str]] = {}
        self._notes: dict[str, tuple[int, str]] = {}

    def add(self, row: Sample | BadRow) -> None:
        """Count a row as its reader has made it."""
        if isinstance(row, BadRow):
            self._bad_rows += 1
            self._first_bad = self._first_bad or f"{row.where}: {row.reason}"
            return
        self._rows += 1
        self._with_image += bool(row.image)
        for name in row.unclaimed:
            value = row.meta.get(name)
            if is_filled(value) and (name in self._fields or len(self._fields) < _MAX_NAMES):
                rows, images, example = self._fields.get(name, (0, 0, ""))
                self._fields[name] = (rows + 1, images + _names_an_image(value), example or shortened(value))
        for note in row.notes:
            if note in self._notes or len(self._notes) < _MAX_NOTES:
                rows, first = self._notes.get(note, (0, row.id))
                self._notes[note] = (rows + 1, first)

    def facts(self) -> SourceFacts:
        """What was counted so far."""
        fields = [
            UnclaimedField(name=name, rows=rows, looks_like_images=images, example=example)
            for name, (rows, images, example) in self._fields.items()
        ]
        return SourceFacts.model_validate(
            {
                **self._about,
                "rows": self._rows,
                "with_image": self._with_image,
                "bad_rows": self._bad_rows,
                "first_bad": self._first_bad,
                "fields": sorted(fields, key=lambda field: -field.rows),
                "notes": [RowNote(note=note, rows=rows, example=first) for note, (rows, first) in self._notes.items()],
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
