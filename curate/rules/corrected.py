"""Rows as read → rows as the rules see them: image keys joined, reviewers' corrections applied."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.readers.ingest import ROWS, row_of
from curate.workspace import Workspace
from winnow import corrections
from winnow.corrections import Resolved
from winnow.files import write_json
from winnow.progress import Bar
from winnow.records import answer_key, context_key, from_record, question_key
from winnow.tables import database, parquet, query_batches, read_batches, row_count, write_parquet

CORRECTED = pa.schema(
    [
        *ROWS,
        ("image_keys", pa.list_(pa.string())),
        ("content_hash", pa.string()),
        ("question_key", pa.string()),
        ("answer_key", pa.string()),
        ("context_key", pa.string()),
        ("forced", pa.string()),
        ("forced_by", pa.string()),
    ]
)
# The key of each image of each row, in their order; null for a file that could not be read.
_KEYS = """
    SELECT p.image_key
    FROM (
        SELECT position, unnest(images) AS path, generate_subscripts(images, 1) AS image_no FROM {rows}
    ) i LEFT JOIN {paths} p ON p.path = i.path
    ORDER BY i.position, i.image_no
"""
_ROWS_AT_ONCE = 2048  # as Python objects in memory


def write_corrected(workspace: Workspace, folder: Path | None) -> None:
    """Write ``workspace.corrected`` (schema ``CORRECTED``) and ``workspace.corrections``: what became of each line.

    Args:
        folder: of reviewers' corrections; None applies none.

    Raises:
        UserError: a line of the folder is not a valid correction.
    """
    lines = corrections.read_corrections(folder) if folder else []
    resolved = corrections.resolve(lines)
    status: dict[str, str] = {}
    query = _KEYS.format(rows=parquet([workspace.rows]), paths=parquet([workspace.paths]))
    with database(workspace.work) as connection, Bar("apply corrections", row_count(workspace.rows)) as bar:
        rows = _with_keys(workspace.rows, query_batches(connection, query))
        write_parquet(workspace.corrected, _corrected(rows, resolved, status, bar), CORRECTED)
    write_json(workspace.corrections, corrections.outcomes(lines, resolved, status))


def _with_keys(rows: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[list[dict[str, Any]]]:
    """Stored rows, some at a time, each with ``image_keys`` from the stream of keys of all rows."""
    keys = (key for batch in batches for key in batch.column("image_key").to_pylist())
    for batch in read_batches(rows):
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            some = batch.slice(start, _ROWS_AT_ONCE).to_pylist()
            yield [{**row, "image_keys": list(itertools.islice(keys, len(row["images"])))} for row in some]


def _corrected(
    rows: Iterator[list[dict[str, Any]]], resolved: Mapping[str, Resolved], status: dict[str, str], bar: Bar
) -> Iterator[pa.RecordBatch]:
    for some in rows:
        yield pa.RecordBatch.from_pylist([_apply_corrections(row, resolved, status) for row in some], CORRECTED)
        bar.advance(len(some))


def _apply_corrections(row: dict[str, Any], resolved: Mapping[str, Resolved], status: dict[str, str]) -> dict[str, Any]:
    record = json.loads(row["record"])
    row["content_hash"] = corrections.content_hash(row["image_keys"], record)
    row["forced"] = row["forced_by"] = None
    if row["bad_row"] is None and row["sample_id"] in resolved:
        applied = corrections.apply(record, row["content_hash"], resolved[row["sample_id"]])
        status.update(applied.status)
        if applied.record != record:
            record = applied.record
            sample = from_record(record, where=row["sample_id"])
            row.update({**row_of(sample), "sample_id": row["sample_id"]})
        if applied.override:
            row["forced"] = applied.override
            row["forced_by"] = json.dumps({"corrections": sorted(applied.status)})
    row.update(question_key=question_key(record), answer_key=answer_key(record), context_key=context_key(record))
    return row
