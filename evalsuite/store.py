"""Replies and predictions on disk: Parquet parts while a run goes on, ``predictions.parquet`` when it is done.

How long each answer took is in ``timings.parquet``, because that differs from run to run and everything in
``predictions.parquet`` is reproducible.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evalsuite.backends import Reply
from winnow.errors import UserError
from winnow.files import atomic_path, digest_of

PARTS = "parts"
PREDICTIONS = "predictions.parquet"
TIMINGS = "timings.parquet"
REPLACED = "replaced.jsonl"
_PART = "part-*-*.parquet"

SLICE = "slice_"  # begins the names of slice columns

_REPLY_SCHEMA = pa.schema(
    [
        ("key", pa.string()), ("raw", pa.string()), ("finish_reason", pa.string()), ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()), ("seconds", pa.float64()), ("error", pa.string()), ("reasoning", pa.string()),
        ("confidence", pa.float64()), ("retry", pa.bool_()),
    ]
)  # fmt: skip
# Every prediction row has these; metric and slice columns follow.
BASE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()), ("image_keys", pa.list_(pa.string())), ("images", pa.list_(pa.string())),
        ("task", pa.string()), ("question", pa.string()), ("prompt", pa.string()), ("raw", pa.string()),
        ("extracted", pa.string()), ("status", pa.string()), ("references", pa.list_(pa.string())),
        ("finish_reason", pa.string()), ("input_tokens", pa.int64()), ("output_tokens", pa.int64()),
        ("error", pa.string()), ("request_key", pa.string()), ("content_hash", pa.string()),
        ("choices", pa.list_(pa.string())), ("reasoning", pa.string()), ("truncated", pa.bool_()),
        ("group", pa.string()), ("repeat", pa.int64()), ("confidence", pa.float64()), ("facts", pa.string()),
        ("retry", pa.bool_()), ("verdict", pa.string()),
    ]
)  # fmt: skip
_TIMING_SCHEMA = pa.schema(
    [("sample_id", pa.string()), ("task", pa.string()), ("seconds", pa.float64()), ("request_key", pa.string())]
)


def base_id(sample_id: str, repeat: int | None) -> str:
    """The id of a row as its source has it: ``x`` for ``x#2``, the third time that ``x`` is asked."""
    return sample_id.removesuffix(f"#{repeat}") if repeat else sample_id


def write_part(folder: Path, replies: Sequence[Reply]) -> None:
    """Atomically write the replies of one unit; of two replies to one request the later part's counts."""
    number = 1 + max((int(path.name.split("-")[1]) for path in (folder / PARTS).glob(_PART)), default=0)
    path = folder / PARTS / f"part-{number:06d}-{digest_of([reply.key for reply in replies])[:12]}.parquet"
    table = pa.Table.from_pylist([asdict(reply) for reply in replies], schema=_REPLY_SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def stored_replies(folder: Path) -> dict[str, Reply]:
    """Replies by key, of the parts and of a finished run; those to ask again are not among them."""
    found: list[dict[str, Any]] = []
    if (folder / PREDICTIONS).is_file():
        names = [field.name for field in fields(Reply) if field.name not in ("key", "seconds")]
        seconds = {row["request_key"]: row["seconds"] for row in read_timings(folder)}
        for row in _read(folder / PREDICTIONS, [*names, "request_key"]):
            key = row.pop("request_key")
            found.append({"key": key, "seconds": seconds.get(key, 0.0), **row})
    for part in sorted((folder / PARTS).glob(_PART)):
        found += _read(part, None)
    return {row["key"]: Reply(**row) for row in found if row["key"] and not row["retry"]}


def add_replaced(folder: Path, replaced: Sequence[tuple[Reply, str]]) -> None:
    """Append replies that others replace, each with the status that it had, to ``replaced.jsonl``."""
    if not replaced:
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with (folder / REPLACED).open("a", encoding="utf-8") as file:
        for reply, status in replaced:
            file.write(json.dumps({**asdict(reply), "status": status, "at": at}, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_replaced(folder: Path) -> list[dict[str, Any]]:
    """Entries of ``replaced.jsonl``, oldest first; one that a kill cut off, or that is there twice, counts once."""
    path = folder / REPLACED
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found.setdefault((entry["key"], entry["seconds"]), entry)
    return list(found.values())


def read_timings(folder: Path) -> list[dict[str, Any]]:
    """``sample_id, task, seconds, request_key`` of every row; empty if the file is missing."""
    return _read(folder / TIMINGS, None)


def write_timings(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``timings.parquet`` from rows that have ``seconds``."""
    table = pa.Table.from_pylist([{name: row[name] for name in _TIMING_SCHEMA.names} for row in rows], _TIMING_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def _read(path: Path, columns: list[str] | None) -> list[dict[str, Any]]:
    """Rows of a file; empty if it is damaged or of another version, because they can be asked again."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    except (pa.ArrowInvalid, OSError, KeyError):
        return []
    return rows


def remove_parts(folder: Path) -> None:
    """Delete the parts; their replies are in ``predictions.parquet``."""
    for part in (folder / PARTS).glob("*.parquet"):
        part.unlink()
    if (folder / PARTS).is_dir():
        (folder / PARTS).rmdir()


def write_predictions(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write the tables, one after the other, as one file; columns that a table lacks are null.

    Each table becomes a row group of its own, so that readers need little memory.
    """
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(_with_columns(table, schema))


def predictions_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The union of some columns in the order of ``predictions.parquet``: those of every row, metrics, slices."""
    types = {field.name: field.type for schema in schemas for field in schema}
    base = [name for name in BASE_SCHEMA.names if name in types]
    rest = sorted((name for name in types if name not in base), key=lambda name: name.startswith(SLICE))
    return pa.schema([(name, types[name]) for name in [*base, *rest]])


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(field.name) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


# Columns that evaluations of earlier versions lack; there they are null.
_LATER = ("reasoning", "truncated", "group", "repeat", "confidence", "facts", "retry", "verdict")


def open_predictions(folder: Path) -> pq.ParquetFile:
    """The predictions of a finished evaluation, not yet read.

    Raises:
        UserError: the file is missing, or does not hold predictions.
    """
    path = folder / PREDICTIONS
    if not path.is_file():
        raise UserError(f"{path}: no such file; finish the run with `evalsuite run`")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    types = {field.name: field.type for field in file.schema_arrow}
    if lost := [name for name in BASE_SCHEMA.names if name not in types and name not in _LATER]:
        raise UserError(f"{path}: lacks the columns {', '.join(lost)}; it was written by another version")
    if wrong := [field.name for field in BASE_SCHEMA if types.get(field.name, field.type) != field.type]:
        raise UserError(f"{path}: holds something else than predictions in {', '.join(wrong)}")
    return file
