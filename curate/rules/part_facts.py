"""What the facts of each part of the rows are made from, as digests: where these are equal, so are the facts.

Rows and texts lie in parts with names that stand for what they hold. An image is measured once, so of its signals the
files count that hold those of a part's images; of the paths those that lead to no image. Any other table (embedding
scores, contamination, answers, losses …) is made as a whole, and a rule that asks for one of its columns is judged
again on all rows when the table changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.row_keys import path_key, short_key, shown_keys
from curate.signals import IMAGE_MODELS
from curate.workspace import Workspace
from winnow.files import sha256_bytes, sha256_file
from winnow.parquet.tables import parquet
from winnow.run import file_stats

Keys = NDArray[np.uint64]


def fact_digests(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, tables: Collection[str], losses: Sequence[Path]
) -> dict[str, list[Any]]:
    """For each table what its facts about each part of the corrected rows depend on, JSON-able.

    Args:
        tables: as ``curate.rules.columns.Column.table`` names them.
        losses: the recipe's.
    """
    corrected = workspace.corrected.names()
    found: dict[str, list[Any]] = {"rows": corrected, "text": workspace.text.names()}
    for table, files in _whole_tables(workspace).items():
        found[table] = [file_stats(*files, below=workspace.folder)] * len(corrected)
    found["loss"] = [[sha256_file(path) for path in losses if "loss" in tables]] * len(corrected)
    by_image = {
        name: parts for name in sorted({"image", *IMAGE_MODELS} & {*tables}) if (parts := _parts_of(workspace, name))
    }
    found |= {name: [] if name in by_image else [[]] * len(corrected) for name in ("image", *IMAGE_MODELS)}
    if not by_image and "path" not in tables:
        return found
    found["path"] = []
    measured = {
        name: (file_stats(*parts, below=workspace.folder), *_images_of(connection, parts))
        for name, parts in by_image.items()
    }
    errors = _errors(connection, workspace) if "path" in tables else None
    for images, paths in shown_keys(workspace):
        for name, (stats, keys, file) in measured.items():
            found[name].append([stats[one] for one in _files_with(images, keys, file)])
        if errors is not None:
            found["path"].append(digest_of_rows(errors.filter(pc.is_in(errors["path"], pa.array(paths)))))
    return found


def _whole_tables(workspace: Workspace) -> dict[str, list[Path]]:
    """Files of the tables that are made as a whole, those that are there."""
    files = {
        "score": workspace.scores, "itm": workspace.itm, "duplicate": workspace.duplicate_rows.state,
        "semantic": workspace.semantic_images, "contamination": workspace.contamination_rows,
        "similar": workspace.similar_texts, "leak": workspace.text_leaks, "answer": workspace.answers,
    }  # fmt: skip
    return {table: [path] if path.is_file() else [] for table, path in files.items()}


def _parts_of(workspace: Workspace, table: str) -> list[Path]:
    return workspace.image_parts() if table == "image" else sorted(workspace.model_folder(table).glob("part-*.parquet"))


def _images_of(connection: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> tuple[Keys, NDArray[np.int64]]:
    """The keys of all images, ascending, and the number of the file that has each."""
    query = f"SELECT {short_key('image_key')} AS key, file_index::BIGINT AS file FROM {parquet(parts)}"
    found = connection.sql(query).to_arrow_table()
    keys, files = found["key"].to_numpy(), found["file"].to_numpy()
    order = np.argsort(keys, kind="stable")
    return keys[order], files[order]


def _errors(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> pa.Table:
    """Of the paths with an error: their keys, and a digest of what is said of each."""
    said = "md5(concat_ws(chr(31), path, error, error_detail))"
    table = parquet([workspace.paths])
    query = f"SELECT {path_key('path')} AS path, {said} AS said FROM {table} WHERE error IS NOT NULL ORDER BY path"
    return connection.sql(query).to_arrow_table()


def _files_with(images: Keys, keys: Keys, file: NDArray[np.int64]) -> list[int]:
    """The files that have one of these images, ascending."""
    first, last = np.searchsorted(keys, images), np.searchsorted(keys, images, side="right")
    again = last - first > 1
    several = [np.arange(*ends) for ends in zip(first[again], last[again], strict=True)]
    return [int(one) for one in np.unique(file[np.concatenate([first[last > first], *several]).astype(np.int64)])]


def digest_of_rows(table: pa.Table) -> str:
    """Hex sha256 of the rows of a table."""
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sha256_bytes(written.getvalue())
