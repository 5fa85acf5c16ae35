"""Columns with one value for the whole set: the quantile of a column, and the least value of its best share.

They are computed over the rows that could be read. A row counts once for each of its images; missing values do not
count. ``top`` takes the worst image of a row.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

import duckdb

from winnow.parquet.tables import literal

_QUANTILE = re.compile(r"quantile\((?P<column>.+), (?P<share>[^,]+)\)", re.S)
_TOP = re.compile(r"(?P<last>last of )?top (?P<amount>[0-9.]+)(?P<percent>%?) BY (?P<column>.+)", re.S)


def asked_column(name: str) -> str | None:
    """The column that a set-wide one is computed from; None for a column that is no set-wide one."""
    found = _QUANTILE.fullmatch(name) or _TOP.fullmatch(name)
    return found["column"] if found else None


def constant_sql(connection: duckdb.DuckDBPyConnection, name: str, values: str) -> tuple[str, str]:
    """The value of a set-wide column as SQL, and its type.

    Args:
        values: table of the rows (position, sample_id, value), the value as DOUBLE.
    """
    known = f"(SELECT * FROM {values} WHERE value IS NOT NULL AND NOT isnan(value))"
    if found := _QUANTILE.fullmatch(name):
        return number_sql(_quantile(connection, known, float(found["share"]))), "DOUBLE"
    found = _TOP.fullmatch(name)
    assert found  # the caller has asked `asked_column`
    amount = Fraction(found["amount"]) / 100 if found["percent"] else int(found["amount"])
    cut = _top(connection, known, amount)
    if found["last"]:
        return (literal(cut[1]) if cut else "NULL::VARCHAR"), "VARCHAR"
    return number_sql(cut[0] if cut else None), "DOUBLE"


def number_sql(value: float | None) -> str:
    """A number, or none, as SQL."""
    return "NULL::DOUBLE" if value is None else f"'{value!r}'::DOUBLE"


def _quantile(connection: duckdb.DuckDBPyConnection, known: str, share: float) -> float | None:
    """Between the two nearest ranks, as ``numpy.quantile`` has it by default; sorting spills to disk."""
    count = connection.execute(f"SELECT count(*) FROM {known}").fetchall()[0][0]
    if not count:
        return None
    place = (count - 1) * share
    below = math.floor(place)
    near = connection.execute(f"SELECT value FROM {known} ORDER BY value LIMIT 2 OFFSET {below}").fetchall()
    low, high = float(near[0][0]), float(near[-1][0])
    return low if place == below or low == high else low + (high - low) * (place - below)


def _top(connection: duckdb.DuckDBPyConnection, known: str, amount: Fraction | int) -> tuple[float, str] | None:
    """The last row that belongs to the best: its value and id; None where all do."""
    rows = f"(SELECT any_value(sample_id) AS sample_id, min(value) AS value FROM {known} GROUP BY position)"
    count = connection.execute(f"SELECT count(*) FROM {rows}").fetchall()[0][0]
    best = math.ceil(amount * count) if isinstance(amount, Fraction) else amount
    if best >= count:
        return None
    query = f"SELECT value, sample_id FROM {rows} ORDER BY value DESC, sample_id LIMIT 1 OFFSET {best - 1}"
    value, last = connection.execute(query).fetchall()[0]
    return float(value), str(last)
