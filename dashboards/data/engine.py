"""DuckDB in a sandbox: it reads Parquet below the data folder, and nothing else."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from winnow.errors import UserError

Connection = duckdb.DuckDBPyConnection
_THREADS = 4
_MEMORY = "2GB"


def connect(root: Path) -> Connection:
    """A locked in-memory connection that may open files below ``root`` only.

    User text still never becomes SQL: values are bound, columns come from a whitelist.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET threads = {_THREADS}")
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    folder = str(root.resolve())
    # The second form is how queries spell a folder whose name holds wildcards (see Folder.file).
    connection.execute("SET allowed_directories = [?, ?]", [folder, glob.escape(folder)])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def fetch(connection: Connection, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """Run a query on a cursor of its own (connections are shared between sessions).

    Returns: one dict per row, keyed by column.

    Raises:
        UserError: a table is missing, broken or lacks a column.
    """
    cursor = _execute(connection, sql, values)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_table(connection: Connection, sql: str, values: Sequence[Any]) -> pa.Table:
    """The result in Arrow, for a million rows: no Python object a cell; raises like ``fetch``."""
    try:
        return connection.cursor().sql(sql, params=list(values)).to_arrow_table()
    except duckdb.Error as error:
        raise _unreadable(error) from error


def fetch_integers(connection: Connection, sql: str, values: Sequence[Any]) -> np.ndarray:
    """The only column as int32; raises like ``fetch``."""
    (column,) = fetch_table(connection, sql, values).columns
    return column.to_numpy().astype(np.int32)


def columns_of(connection: Connection, path: str) -> dict[str, str]:
    """Column name → DuckDB type of a Parquet file; raises like ``fetch``."""
    rows = fetch(connection, "DESCRIBE SELECT * FROM read_parquet(?)", [path])
    return {row["column_name"]: row["column_type"] for row in rows}


def quoted(column: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def _execute(connection: Connection, sql: str, values: Sequence[Any]) -> Connection:
    try:
        return connection.cursor().execute(sql, list(values))
    except duckdb.Error as error:
        raise _unreadable(error) from error


def _unreadable(error: duckdb.Error) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"a result table cannot be read: {reason}; remake the folder that holds it")
