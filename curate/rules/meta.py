"""``meta.<key>`` in rules: fields of a row that no signal stands for, typed by the values that the set has.

True and false are booleans. Numbers are numbers, and so are texts if all of them are written as numbers. Lists are
lists of texts. All else, also a key of mixed types, is text; an object is the text of its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from winnow.errors import UserError, did_you_mean
from winnow.parquet.tables import literal

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')
_NUMBERS = {"BIGINT", "UBIGINT", "HUGEINT", "UHUGEINT", "DOUBLE"}
# As JSON writes them: "007" is a text.
_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_MOST_NAMES = 1000


def column_name(parts: Sequence[str]) -> str:
    """The name of a column from its parts: ``meta.scores.aesthetic``, ``meta."a b"``."""
    return ".".join(part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def is_meta(name: str) -> bool:
    """Whether a column is a key of ``meta``."""
    return name.startswith("meta.")


def read_types(connection: duckdb.DuckDBPyConnection, names: Sequence[str], where: str = "") -> dict[str, str]:
    """The DuckDB type of each of these columns, by the values in the view ``rows``.

    Args:
        where: what the message of an error begins with.

    Raises:
        UserError: no row has the key (near ones are named).
    """
    return {name: _type(connection, name, where) for name in names}


def check_any_number(connection: duckdb.DuckDBPyConnection, name: str, where: str) -> None:
    """Raise UserError if no row of the view ``rows`` has a number under this key."""
    text = f"json_extract_string(record, {literal(_pointer(_keys(name)))})"
    found = connection.execute(f"SELECT max(TRY_CAST({text} AS DOUBLE)) FROM rows WHERE bad_row IS NULL").fetchone()
    if found is None or found[0] is None:
        raise UserError(f"{where}: {name} is a number in no row, so the rule cannot compare or order it as one")


def value_sql(name: str, kind: str) -> str:
    """SQL of the column for a row of ``rows`` (alias r)."""
    place = literal(_pointer(_keys(name)))
    if kind == "VARCHAR[]":
        return f"CAST(json_extract(r.record, {place}) AS VARCHAR[])"
    text = f"json_extract_string(r.record, {place})"
    return text if kind == "VARCHAR" else f"TRY_CAST({text} AS {kind})"


def _keys(name: str) -> list[str]:
    """The keys below ``meta``."""
    found = [quoted.replace('""', '"') if quoted or not plain else plain for quoted, plain in _PART.findall(name)]
    return found[1:]


def _pointer(keys: Sequence[str]) -> str:
    """A JSON pointer into the record (RFC 6901)."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in ("meta", *keys))


def _type(connection: duckdb.DuckDBPyConnection, name: str, where: str) -> str:
    found = connection.execute(f"""
        SELECT json_type(value), bool_and(coalesce(regexp_full_match(value->>'$', '{_NUMBER}'), true))
        FROM (SELECT json_extract(record, {literal(_pointer(_keys(name)))}) AS value FROM rows WHERE bad_row IS NULL)
        WHERE value IS NOT NULL GROUP BY 1
    """).fetchall()
    if not found:
        raise UserError(where + _unknown(connection, name))
    numbers = dict(found)
    kinds = set(numbers) - {"NULL"}
    if kinds and kinds <= {"BIGINT"}:
        return "BIGINT"
    if kinds and kinds <= _NUMBERS | {"VARCHAR"} and numbers.get("VARCHAR", True):
        return "DOUBLE"
    return {("BOOLEAN",): "BOOLEAN", ("ARRAY",): "VARCHAR[]"}.get(tuple(kinds), "VARCHAR")


def _unknown(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """What is wrong with a name that no row has: the first of its keys that is nowhere, and the keys that are there."""
    keys = _keys(name)
    for depth, key in enumerate(keys):
        rows = connection.execute(f"""
            SELECT DISTINCT unnest(json_keys(record, {literal(_pointer(keys[:depth]))})) AS key
            FROM rows WHERE bad_row IS NULL ORDER BY key LIMIT {_MOST_NAMES}
        """).fetchall()
        known = [str(row[0]) for row in rows]
        if key not in known:
            names = [column_name(["meta", *keys[:depth], one]) for one in known]
            wanted = column_name(["meta", *keys[: depth + 1]])
            hint = did_you_mean(wanted, names) if names else f"{column_name(['meta', *keys[:depth]])} has no keys"
            return f"no row has {wanted}; {hint}"
    return f"no row has {name}"
