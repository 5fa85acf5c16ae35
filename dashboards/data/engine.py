"""Reads result tables: DuckDB in a sandbox that opens Parquet below the data folder, and a cache for what queries give.

Nothing below ``dashboards.data`` knows Streamlit: queries are plain functions, and ``cached`` remembers
their results for all sessions of the server. Texts become categories: a million strings cost seconds as Python
objects and milliseconds as codes.
"""

from __future__ import annotations

import functools
import glob
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evalsuite.statistics import Property
from winnow.errors import UserError

Connection = duckdb.DuckDBPyConnection
_THREADS = 4
_MEMORY = "2GB"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class _Slot:
    """One remembered result. The lock makes sessions that ask for it at once wait for one computation."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.results: list[Any] = []


def cached(entries: int) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Remember the last ``entries`` results of a query; all sessions share them, so nobody may change them.

    Arguments must be hashable. A ``Folder`` among them carries the fingerprint of its files, so a changed
    file is a different argument. An exception is not remembered.
    """

    def decorate(query: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        slots: OrderedDict[Any, _Slot] = OrderedDict()
        guard = threading.Lock()

        @functools.wraps(query)
        def ask(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            key = (args, tuple(sorted(kwargs.items())))
            with guard:
                slot = slots.setdefault(key, _Slot())
                slots.move_to_end(key)
                if len(slots) > entries:
                    slots.popitem(last=False)
            with slot.lock:
                if not slot.results:
                    slot.results.append(query(*args, **kwargs))
                result: Result = slot.results[0]
                return result

        return ask

    return decorate


@cached(4)
def connect(root: Path) -> Connection:
    """A locked in-memory connection that may open files below ``root`` only; every query takes its own cursor.

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
    """Run a query on a cursor of its own.

    Returns: one dict per row, keyed by column.

    Raises:
        UserError: a table is missing, broken or lacks a column.
    """
    try:
        cursor = connection.cursor().execute(sql, list(values))
    except duckdb.Error as error:
        raise unreadable(error) from error
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_table(connection: Connection, sql: str, values: Sequence[Any]) -> pa.Table:
    """The result in Arrow, for a million rows: no Python object per cell; raises like ``fetch``."""
    try:
        return connection.cursor().sql(sql, params=list(values)).to_arrow_table()
    except duckdb.Error as error:
        raise unreadable(error) from error


def fetch_integers(connection: Connection, sql: str, values: Sequence[Any]) -> NDArray[np.int32]:
    """The only column as int32; raises like ``fetch``."""
    (column,) = fetch_table(connection, sql, values).columns
    return np.asarray(column.to_numpy(), dtype=np.int32)


def columns_of(connection: Connection, path: str) -> dict[str, str]:
    """Column name → DuckDB type of a Parquet file; raises like ``fetch``."""
    rows = fetch(connection, "DESCRIBE SELECT * FROM read_parquet(?)", [path])
    return {row["column_name"]: row["column_type"] for row in rows}


def quoted(column: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def unreadable(error: duckdb.Error) -> UserError:
    """The sentence that says why a table cannot be read."""
    reason = str(error).splitlines()[0]
    return UserError(f"a result table cannot be read: {reason}; remake the folder that holds it")


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of a Parquet file, or single fields of nested ones (``rules.list.element.rule``).

    Raises:
        UserError: the file is missing, broken, or lacks one of them.
    """
    try:
        with pq.ParquetFile(path) as file:
            # Nested columns cannot be read as dictionaries.
            texts = [leaf.path for leaf in file.schema if leaf.path == leaf.name and leaf.physical_type == "BYTE_ARRAY"]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            table = file.read(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); remake its folder") from error
    if lost := {name.partition(".")[0] for name in columns}.difference(table.column_names):
        raise UserError(f"{path}: lacks the columns {', '.join(sorted(lost))}; remake its folder")
    return table


def coded(column: pa.ChunkedArray) -> Property:
    """A column of texts as codes (rows,) and their values, in order of first occurrence; null becomes ''."""
    if not len(column):
        return Property((), np.empty(0, dtype=np.int64))
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    found = column.unify_dictionaries().combine_chunks()
    values, indices = found.dictionary.to_pylist(), found.indices
    if indices.null_count:
        indices = pc.fill_null(indices, len(values))
        values.append("")
    return Property(tuple(values), indices.to_numpy().astype(np.int64))
