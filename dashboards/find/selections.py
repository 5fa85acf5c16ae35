"""Lists of rows that were pointed at, kept in small files: a URL holds only the name, which is the content's digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dashboards.data.catalog import Catalog, Folder, Kind
from dashboards.data.engine import cached, fetch_table
from winnow.errors import UserError
from winnow.files import atomic_path

_NAME = re.compile(r"[0-9a-f]{16}")
MOST = 100_000  # rows of one selection


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of one folder.

    Attributes:
        title: what they have in common, for people.
        folder: where they are; None if it is gone.
        rows: (n,) row numbers of ``predictions.parquet`` or positions of ``samples.parquet``, as they were chosen.
        lost: how many of the rows are no longer there.
    """

    title: str
    folder: Folder | None
    rows: NDArray[np.int32]
    lost: int = 0


def save_selection(title: str, folder: Folder, rows: Sequence[int] | NDArray[np.int32]) -> str:
    """Keep rows by their ids, in this order; the first ``MOST`` of them.

    Returns: the selection's name.

    Raises:
        UserError: the table is broken, or the cache cannot be written.
    """
    ids, tasks = _ids(folder, np.asarray(rows[:MOST], dtype=np.int32))
    digest = hashlib.sha256(f"{title}\0{folder.kind}\0{folder.name}".encode())
    for text in (*ids, *tasks):
        digest.update(f"\0{text}".encode())
    name = digest.hexdigest()[:16]
    path = _path(folder.root, name)
    if not path.is_file():
        facts = {"title": title, "kind": folder.kind, "folder": folder.name}
        table = pa.table({"sample_id": pa.array(ids, pa.string()), "task": pa.array(tasks, pa.string())})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as file:
                pq.write_table(table.replace_schema_metadata(facts), file, compression="zstd")
        except OSError as error:
            raise UserError(f"{path.parent}: cannot be written ({error}); selections are kept there") from error
    return name


def open_selection(catalog: Catalog, name: str) -> Selection | None:
    """A selection by its name; None if there is none of that name.

    Raises:
        UserError: its file or its folder's table is broken.
    """
    path = _path(catalog.root, name)
    if not _NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        kind: Kind = "evals" if facts["kind"] == "evals" else "curated"
        ids, tasks = table["sample_id"].to_pylist(), table["task"].to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); select the rows again") from error
    folder = catalog.find(kind, facts["folder"])
    if folder is None:
        return Selection(facts["title"], None, np.empty(0, dtype=np.int32), len(ids))
    rows = _rows(folder, tuple(ids), tuple(tasks))
    return Selection(facts["title"], folder, rows[rows >= 0], int((rows < 0).sum()))


def _path(root: Path, name: str) -> Path:
    return root / "cache" / "selections" / f"{name}.parquet"


def _source(folder: Folder) -> tuple[str, str]:
    """FROM clause with ``row``, ``sample_id`` and ``task``, and the path that it binds."""
    if folder.kind == "evals":
        sql = "(SELECT file_row_number AS row, sample_id, task FROM read_parquet(?, file_row_number = true))"
        return sql, folder.file("predictions.parquet")
    return "(SELECT position AS row, sample_id, '' AS task FROM read_parquet(?))", folder.file("samples.parquet")


def _ids(folder: Folder, rows: NDArray[np.int32]) -> tuple[list[str], list[str]]:
    source, path = _source(folder)
    sql = f"SELECT row, sample_id, task FROM {source} WHERE row IN (SELECT unnest(?))"
    found = fetch_table(folder.connection, sql, [path, rows.tolist()])
    by_row = {
        row: (sample_id, task)
        for row, sample_id, task in zip(*(found[name].to_pylist() for name in found.column_names), strict=True)
    }
    there = [by_row[row] for row in rows.tolist() if row in by_row]
    return [sample_id for sample_id, _ in there], [task for _, task in there]


@cached(16)
def _rows(folder: Folder, ids: tuple[str, ...], tasks: tuple[str, ...]) -> NDArray[np.int32]:
    """(n,) row of each (id, task); -1 for those that are gone."""
    source, path = _source(folder)
    sql = f"SELECT row, sample_id, task FROM {source} WHERE sample_id IN (SELECT unnest(?))"
    found = fetch_table(folder.connection, sql, [path, list(ids)])
    columns = (found[name].to_pylist() for name in found.column_names)
    rows = {(sample_id, task): row for row, sample_id, task in zip(*columns, strict=True)}
    return np.array([rows.get(pair, -1) for pair in zip(ids, tasks, strict=True)], dtype=np.int32)
