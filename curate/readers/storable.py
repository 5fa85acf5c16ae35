"""Values of ``meta`` that readers of JSON lines cannot hold, kept as text.

Any of them in one row makes the whole file unreadable for pandas, DuckDB or `datasets`: pandas refuses whole numbers of
more than 64 bits, DuckDB nesting of 128 levels and names that differ only in case, and no JSON has NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from winnow.records import BadRow, LongInteger, Sample

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
    refused = [name for name, value in row.meta.items() if not _is_plain(value, MAX_DEPTH)]
    if not refused:
        return row
    meta = {name: _as_text(value) if name in refused else value for name, value in row.meta.items()}
    return dataclasses.replace(row, meta=meta, notes=(*row.notes, _NOTE))


def _as_text(value: Any) -> str:
    return str(value) if isinstance(value, LongInteger) else json.dumps(value)


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, LongInteger):
        return False
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return _LOWEST <= value <= _HIGHEST
    if isinstance(value, dict):
        names = {name.lower() for name in value}
        return depth > 0 and len(names) == len(value) and all(_is_plain(item, depth - 1) for item in value.values())
    return not isinstance(value, list) or (depth > 0 and all(_is_plain(item, depth - 1) for item in value))
