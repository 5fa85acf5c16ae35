"""What the next stage and people read: the kept rows, every row with its decision, and the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.atomic import atomic_path
from curate.errors import UserError
from curate.workspace import Workspace, read_batches, write_parquet

SAMPLES, SAMPLES_TABLE, LEDGER = "samples.jsonl", "samples.parquet", "ledger.jsonl"
ASSIGNED_SPLIT = "assigned_split"
_COLUMNS = [
    "position", "sample_id", "source", "split", "images", "image_keys", "question", "answer", "answers",
    "question_type",
]  # fmt: skip


def write_exports(space: Workspace) -> list[Path]:
    """Write ``samples.jsonl`` (kept and flagged rows), ``samples.parquet`` (all rows) and ``ledger.jsonl``.

    All in input order, streamed.

    Raises:
        UserError: a file cannot be written.
    """
    first = next(read_batches(space.samples), None)
    schema = _table_schema(first.schema) if first is not None else pa.schema([])
    write_parquet(space.folder / SAMPLES_TABLE, _with_decisions(space, schema), schema)
    _write_lines(space.folder / SAMPLES, _kept_lines(space))
    _write_lines(space.folder / LEDGER, _ledger_lines(space))
    return [space.folder / name for name in (SAMPLES_TABLE, SAMPLES, LEDGER)]


def ledger_entry(row: dict[str, Any]) -> dict[str, Any]:
    """One row of ``decisions.parquet`` as a person reads it."""
    rules = [
        {
            "rule": fired["rule"],
            "action": fired["action"],
            "expression": fired["expression"],
            "values": json.loads(fired["values"] or "{}"),
            "threshold": fired["threshold"],
            "kept_twin": fired["kept_twin"],
        }
        for fired in row["rules"]
    ]
    reasons = [fired for fired in rules if fired["rule"] == row["reason"]] or rules
    return {
        "sample_id": row["sample_id"],
        "decision": row["decision"],
        "reason": row["reason"],
        "kept_twin": reasons[0]["kept_twin"] if reasons else None,
        "rules": rules,
    }


def _table_schema(rows: pa.Schema) -> pa.Schema:
    own = [rows.field(name) for name in _COLUMNS]
    tail = [("decision", pa.string()), ("reason", pa.string()), ("content_hash", pa.string()), ("record", pa.string())]
    return pa.schema([*own, *(pa.field(name, kind) for name, kind in tail)])


def _pairs(space: Workspace) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Rows and their decisions side by side: both files are in input order and cut alike."""
    return zip(read_batches(space.samples), read_batches(space.decisions), strict=True)


def _with_decisions(space: Workspace, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for rows, decisions in _pairs(space):
        columns = [(decisions if name in ("decision", "reason") else rows).column(name) for name in schema.names]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _kept_lines(space: Workspace) -> Iterator[str]:
    for rows, decisions in _pairs(space):
        kept = pc.not_equal(decisions.column("decision"), "drop")
        yield from rows.column("record").filter(kept).to_pylist()


def _ledger_lines(space: Workspace) -> Iterator[str]:
    for decisions in read_batches(space.decisions):
        marked = decisions.filter(pc.not_equal(decisions.column("decision"), "keep"))
        for row in marked.to_pylist():
            yield json.dumps(ledger_entry(row), ensure_ascii=False)


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    try:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
            handle.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
