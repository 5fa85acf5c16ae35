"""Rows as numbers: digests of what rows are joined and compared by, made once for each part of the corrected rows.

Joins over all rows read these in place of ids, texts, paths and keys: 8 bytes for each, 16 where two that differ must
never be taken for the same.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.workspace import Workspace
from winnow.parquet.table_parts import Parts, PartTask, part_name
from winnow.parquet.tables import literal, query_batches, write_numbers, write_parquet

_VERSION = 1  # raise it when the same rows make other numbers
_IDS = [(f"{name}_{half}", pa.uint64()) for name in ("id", "said", "answer") for half in ("high", "low")]
# Of a row: id; question with what is said before it; answer; references; images that can be read (0 for one that
# cannot) and their paths.
ROW_KEYS = pa.schema(
    [*_IDS, ("votes", pa.int32()), ("images", pa.list_(pa.uint64())), ("paths", pa.list_(pa.uint64()))]
)
_KEYS = """
    SELECT md5_number(sample_id) AS id, md5_number(concat_ws(chr(31), question_key, context_key)) AS said,
           md5_number(coalesce(answer_key, '')) AS answer, len(answers) AS votes,
           list_transform(image_keys, lambda key: CASE WHEN key IS NULL THEN 0 ELSE {image} END) AS images,
           list_transform(images, lambda path: {path}) AS paths
    FROM read_parquet({file})
"""


def short_key(key: str) -> str:
    """SQL of 64 bits of an image key, never 0."""
    return f"greatest(coalesce(TRY_CAST('0x' || {key}[:16] AS UBIGINT), {path_key(key)}), 1)"


def path_key(path: str) -> str:
    """SQL of 64 bits of a path."""
    return f"('0x' || md5({path})[:16])::UBIGINT"


def write_row_keys(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> Parts:
    """Bring ``workspace.row_keys`` up to date: a row for each corrected row.

    Raises:
        UserError: a file cannot be written.
    """
    corrected, keys = workspace.corrected, workspace.row_keys
    tasks = [PartTask(["row keys", _VERSION, name], (corrected.folder / name,)) for name in corrected.names()]
    by_name = {task.name: task for task in tasks}
    for name in keys.missing(by_name):
        file = literal(str(by_name[name].args[0]))
        query = _KEYS.format(image=short_key("key"), path=path_key("path"), file=file)
        write_parquet(keys.folder / name, map(_halved, query_batches(connection, query)), ROW_KEYS)
    keys.finish([task.name for task in tasks])
    return keys


def shown_keys(workspace: Workspace) -> list[list[NDArray[np.uint64]]]:
    """For each part of the row keys its distinct images and paths, ascending; kept from one run to the next.

    Raises:
        UserError: a file cannot be written.
    """
    keys, parts = workspace.row_keys, workspace.shown_keys
    files = {part_name(["shown", _VERSION, name]): keys.folder / name for name in keys.names()}
    for name in parts.missing(files):
        rows = pq.ParquetFile(files[name]).read(["images", "paths"])
        images, paths = (np.unique(column.combine_chunks().flatten().to_numpy()) for column in rows.columns)
        is_path = np.repeat([False, True], [len(images), len(paths)])
        write_numbers(parts.folder / name, pa.table({"key": np.concatenate([images, paths]), "is_path": is_path}))
    parts.finish([*files])
    tables = [pq.ParquetFile(path).read() for path in parts.files()]
    counts = [len(table) - (pc.sum(table["is_path"]).as_py() or 0) for table in tables]
    return [np.split(table["key"].to_numpy(), [count]) for table, count in zip(tables, counts, strict=True)]


def _halved(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The three whole numbers of 128 bits as two each."""
    halves: list[pa.Array] = []
    for name in ("id", "said", "answer"):
        whole = rows.column(name)
        low, high = np.frombuffer(whole.buffers()[1], "<u8").reshape(-1, 2)[whole.offset :][: len(whole)].T
        halves += [pa.array(np.ascontiguousarray(half)) for half in (high, low)]
    return pa.RecordBatch.from_arrays(
        [*halves, rows.column("votes").cast(pa.int32()), rows.column("images"), rows.column("paths")],
        schema=ROW_KEYS,
    )


def ids_at(workspace: Workspace, positions: NDArray[np.int64]) -> pa.Array:
    """The ids of the rows at some positions, in their order."""
    corrected = workspace.corrected
    wanted, place = np.unique(positions, return_inverse=True)
    found = []
    for path, start, count in zip(corrected.files(), corrected.starts(), corrected.counts(), strict=True):
        first, last = np.searchsorted(wanted, (start, start + count))
        if last > first:
            ids = pq.ParquetFile(path).read(["sample_id"])["sample_id"].combine_chunks()
            found.append(ids.take(pa.array(wanted[first:last] - start)))
    return pa.concat_arrays([pa.array([], pa.string()), *found]).take(pa.array(place.reshape(-1)))
