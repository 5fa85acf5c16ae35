"""Values of ``meta`` that readers of JSON lines cannot hold, kept as text, and rows that no file of UTF-8 can hold.

Any of them in one row makes the whole file unreadable for pandas, DuckDB or `datasets`: pandas refuses whole numbers of
more than 64 bits, DuckDB nesting of 128 levels and names that differ only in case, and no JSON has NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from winnow.media.locate import is_text
from winnow.rows.lines import LongInteger
from winnow.rows.records import BadRow, Sample

MAX_DEPTH = 100  # DuckDB reads 128 levels, those of the record included
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_NOTE = "has a value in `meta` that JSON readers cannot hold, kept there as its JSON text"


def storable(row: Sample | BadRow) -> Sample | BadRow:
    """A row with each value of ``meta`` as it is, or as its JSON text if a reader of JSON lines would refuse it.

    Refused are whole numbers outside -2^63 … 2^64 - 1, NaN and infinity, more than 100 levels of nesting, halves of
    surrogate pairs, and names in one object that differ only in case.
    """
    return row if isinstance(row, BadRow) else with_storable_meta(row)


def with_storable_meta(row: Sample) -> Sample:
    """``storable`` of a sample."""
    if not row.meta:
        return row
    refused = [name for name, value in row.meta.items() if not is_plain(value)]
    if not refused:
        return row
    meta = {name: _as_text(value) if name in refused else value for name, value in row.meta.items()}
    return dataclasses.replace(row, meta=meta, notes=(*row.notes, _NOTE))


def encodable(row: Sample | BadRow, where: str, position: int) -> Sample | BadRow:
    """A row whose texts UTF-8 can hold, or a bad row: JSON inside a text may spell half a surrogate pair.

    Args:
        where, position: of the row in its source.
    """
    if isinstance(row, BadRow):
        if is_text(row.where) and is_text(row.reason):
            return row
        return dataclasses.replace(row, where=_escaped(row.where), reason=_escaped(row.reason))
    turns = (text for turn in row.conversations for text in (turn.value, turn.name))
    texts = (row.id, row.source, row.split, *row.image, *row.answers, *row.meta, *row.unclaimed, *row.notes, *turns)
    if is_text("".join(texts)):
        return row
    return BadRow(_escaped(where), "holds half a surrogate pair, which is not text", position)


def _escaped(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _as_text(value: Any) -> str:
    return str(value) if isinstance(value, LongInteger) else json.dumps(value)


def is_plain(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether readers of JSON lines can hold a value of JSON with at most ``depth`` levels."""
    if isinstance(value, LongInteger):
        return False
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return _LOWEST <= value <= _HIGHEST
    if isinstance(value, dict):
        names = {name.lower() for name in value}
        plain = len(names) == len(value) and is_text("".join(value))
        return plain and depth > 0 and all(is_plain(item, depth - 1) for item in value.values())
    return not isinstance(value, list) or (depth > 0 and all(is_plain(item, depth - 1) for item in value))
