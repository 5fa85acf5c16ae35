"""What the next stage and people read: the kept rows, every row with its decision, and the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.workspace import ASSIGNED_SPLIT, Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path
from winnow.tables import read_batches, write_parquet

_COLUMNS = [
    "position", "sample_id", "source", "split", "images", "image_keys", "question", "answer", "answers",
    "question_type",
]  # fmt: skip


def write_results(workspace: Workspace, splits: Sequence[str] = ()) -> list[Path]:
    """Write ``samples.jsonl`` (kept and flagged rows), ``samples.parquet`` (all rows) and ``ledger.jsonl``.

    All in input order, streamed.

    Args:
        splits: write ``samples-<split>.jsonl`` for each, as ``workspace.splits`` has assigned the rows.

    Raises:
        UserError: a file cannot be written.
    """
    first = next(read_batches(workspace.corrected), None)
    schema = _table_schema(first.schema) if first is not None else pa.schema([])
    write_parquet(workspace.samples_table, _with_decisions(workspace, schema), schema)
    _write_lines(workspace.samples, _kept_lines(workspace))
    _write_lines(workspace.ledger, _ledger_lines(workspace))
    parts = {workspace.samples_of(split): split for split in splits}
    for stale in set(workspace.folder.glob("samples-*.jsonl")) - set(parts):
        stale.unlink()
    for path, split in parts.items():
        _write_lines(path, _kept_lines(workspace, split))
    return [workspace.samples_table, workspace.samples, *parts, workspace.ledger]


def ledger_entry(row: dict[str, Any]) -> dict[str, Any]:
    """One row of ``decisions.parquet`` as a person reads it."""
    rules = [
        {
            "rule": fired["rule"],
            "action": fired["action"],
            "expression": fired["expression"],
            "values": json.loads(fired["values"] or "{}"),
            "threshold": fired["threshold"],
            "related_row": fired["related_row"],
        }
        for fired in row["rules"]
    ]
    reasons = [fired for fired in rules if fired["rule"] == row["reason"]] or rules
    return {
        "sample_id": row["sample_id"],
        "decision": row["decision"],
        "reason": row["reason"],
        "related_row": reasons[0]["related_row"] if reasons else None,
        "rules": rules,
    }


def _table_schema(rows: pa.Schema) -> pa.Schema:
    own = [rows.field(name) for name in _COLUMNS]
    tail = ("decision", "reason", ASSIGNED_SPLIT, "content_hash", "record")
    return pa.schema([*own, *(pa.field(name, pa.string()) for name in tail)])


def _aligned(workspace: Workspace) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch, pa.Array]]:
    """Rows, their decisions and splits side by side: the files are in input order and cut alike.

    A dropped row has no split, nor has any row of a set that is not split.
    """
    pairs = zip(read_batches(workspace.corrected), read_batches(workspace.decisions), strict=True)
    assigned = read_batches(workspace.splits, [ASSIGNED_SPLIT]) if workspace.splits.is_file() else None
    for rows, decisions in pairs:
        splits = next(assigned).column(ASSIGNED_SPLIT) if assigned else pa.nulls(rows.num_rows, pa.string())
        dropped = pc.equal(decisions.column("decision"), "drop")
        yield rows, decisions, pc.if_else(dropped, pa.scalar(None, pa.string()), splits)


def _with_decisions(workspace: Workspace, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for rows, decisions, splits in _aligned(workspace):
        found = {ASSIGNED_SPLIT: splits, **{name: decisions.column(name) for name in ("decision", "reason")}}
        columns = [found[name] if name in found else rows.column(name) for name in schema.names]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _kept_lines(workspace: Workspace, split: str | None = None) -> Iterator[str]:
    for rows, decisions, splits in _aligned(workspace):
        wanted = pc.not_equal(decisions.column("decision"), "drop")
        if split is not None:
            wanted = pc.fill_null(pc.equal(splits, split), False)
        yield from rows.column("record").filter(wanted).to_pylist()


def _ledger_lines(workspace: Workspace) -> Iterator[str]:
    for decisions in read_batches(workspace.decisions):
        marked = decisions.filter(pc.not_equal(decisions.column("decision"), "keep"))
        for row in marked.to_pylist():
            yield json.dumps(ledger_entry(row), ensure_ascii=False)


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    try:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
            handle.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error
