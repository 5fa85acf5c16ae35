"""Parquet files and DuckDB connections in bounded memory, whatever the number of rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path

# Memory for DuckDB; a larger sort, join or table spills to disk. Each thread has a share of its own.
_MEMORY, _MEMORY_A_THREAD = 512 << 20, 64 << 20
_SPILLED = "spilled"
_numbers = itertools.count()


class _NoPandas:
    """A finder of modules, by which there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def look_for_no_pandas() -> None:
    """Keep Arrow from importing pandas with the first array that it makes, which takes half a second.

    For commands that hand no pandas objects to Arrow; ``to_pandas`` imports it all the same.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([])  # it looks once
    finally:
        sys.meta_path.remove(_NoPandas)


@contextlib.contextmanager
def database(work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """``connect`` for the length of the block.

    Raises:
        UserError: neither memory nor disk has room for a query.
    """
    try:
        with connect(work) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{work}: no room to sort and join ({reason}); free some space and run it again") from error


def connect(work: Path) -> duckdb.DuckDBPyConnection:
    """Connect to an empty database of bounded memory; what exceeds it is spilled to ``work`` until it is closed."""
    threads = os.cpu_count() or 1
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{_MEMORY + threads * _MEMORY_A_THREAD} bytes",
        "temp_directory": str(work / f"{_SPILLED}-{os.getpid()}-{next(_numbers)}"),
    }
    return duckdb.connect(":memory:", config=config)


def remove_spilled(work: Path) -> None:
    """Delete spilled data of processes that were killed."""
    for folder in work.glob(f"{_SPILLED}-*-*"):
        try:
            os.kill(int(folder.name.split("-")[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):  # another user's process, or a folder of another kind
            continue


ROWS_A_GROUP = 16_384


def write_parquet(path: Path, batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> None:
    """Atomically write batches of any size as row groups of ``ROWS_A_GROUP``: equal rows give equal bytes.

    Raises:
        UserError: the file cannot be written (read-only folder, full disk).
    """
    try:
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for table in regrouped(batches, schema):
                writer.write_table(table, row_group_size=ROWS_A_GROUP)
    except OSError as error:
        raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error


def write_numbers(path: Path, table: pa.Table) -> None:
    """Atomically write numbers that no encoding makes smaller, such as digests, as they are.

    Raises:
        UserError: as of ``write_parquet``.
    """
    try:
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="none", use_dictionary=False, write_statistics=False)
    except OSError as error:
        raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error


def read_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file by row groups; files of ``write_parquet`` with equally many rows are cut alike."""
    with pq.ParquetFile(path) as table:
        for group in range(table.num_row_groups):
            yield from table.read_row_group(group, columns=columns).combine_chunks().to_batches()


def query_batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """Stream the rows of an SQL query."""
    yield from connection.sql(query).to_arrow_reader(ROWS_A_GROUP)


def row_count(path: Path) -> int:
    """Number of rows of a Parquet file."""
    return int(pq.read_metadata(path).num_rows)


def regrouped(batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema | None = None) -> Iterator[pa.Table]:
    """The rows of batches in tables of ``ROWS_A_GROUP``, the last of fewer; cast to ``schema`` if it is given."""
    waiting: list[pa.Table] = []
    held = 0
    for batch in batches:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        waiting.append(table.cast(schema) if schema is not None and table.schema != schema else table)
        held += table.num_rows
        while held >= ROWS_A_GROUP:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROWS_A_GROUP).combine_chunks()
            waiting = [joined.slice(ROWS_A_GROUP)]
            held -= ROWS_A_GROUP
    if held:
        yield pa.concat_tables(waiting).combine_chunks()


def parquet(paths: Sequence[Path], options: str = "") -> str:
    """SQL that reads Parquet files; their names are quoted."""
    return f"read_parquet({sql_files(paths)}{options and ', '}{options})"


def sql_files(paths: Iterable[Path]) -> str:
    """File names as an SQL list."""
    return f"[{', '.join(literal(str(path)) for path in paths)}]"


def literal(text: str) -> str:
    """``text`` as an SQL string constant."""
    return "'" + text.replace("'", "''") + "'"
