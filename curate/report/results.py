"""Writes the results: kept rows (samples.jsonl), all rows (samples.parquet), dropped or flagged ones (ledger.jsonl)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.row_blocks import BlockReader, Rows, pieces_of_blocks
from curate.rules.decisions import part_digests
from curate.rules.part_facts import digest_of_rows
from curate.workspace import ASSIGNED_SPLIT, Workspace
from winnow.files import digest_of, read_json, sha256_bytes, write_state
from winnow.parquet.block_files import DamagedError, TableFile, open_block_files
from winnow.parquet.footer import RowGroup, group_digests
from winnow.parquet.tables import ROWS_A_GROUP, database

_COLUMNS = [
    "position", "sample_id", "source", "split", "images", "image_keys", "question", "answer", "answers",
    "question_type",
]  # fmt: skip
_ABOUT = ["images", "question", "answer"]  # what a line of the ledger says of a row
_LINES_AT_ONCE = 2048
_VERSION = 3  # raise it when the same rows and decisions give other files
_DECIDED = ("decision", "reason", "duplicate_kind", "contaminated_kind")


# A row as a person reads it: with what it is about, and every rule that fired.
_LEDGER = """
    SELECT to_json({
        'sample_id': d.sample_id,
        'image': CASE len(r.images) WHEN 0 THEN NULL WHEN 1 THEN to_json(r.images[1]) ELSE to_json(r.images) END,
        'question': r.question, 'answer': r.answer, 'decision': d.decision, 'reason': d.reason,
        'related_row': list_concat(list_filter(d.rules, lambda fired: fired.rule = d.reason), d.rules)[1].related_row,
        'rules': list_transform(d.rules, lambda fired: {
            'rule': fired.rule, 'action': fired.action, 'expression': fired.expression,
            'values': coalesce(fired.values, '{}')::JSON, 'threshold': fired.threshold,
            'related_row': fired.related_row})
    })::VARCHAR AS line
    FROM decided d POSITIONAL JOIN about r
"""


def write_results(workspace: Workspace, splits: Sequence[str] = ()) -> dict[Path, str]:
    """Write ``samples.jsonl`` (kept and flagged rows), ``samples.parquet`` (all rows) and ``ledger.jsonl``.

    All in input order: the table in blocks, lines by the parts of the rows. What has not changed since an earlier run
    is copied from its files, lines wherever they have moved to.

    Args:
        splits: write ``samples-<split>.jsonl`` for each, as ``workspace.splits`` has assigned the rows.

    Returns:
        The files with their sha256.

    Raises:
        UserError: a file cannot be written.
    """
    state = workspace.work / "results.json"
    try:
        return _write_results(workspace, splits, state)
    except DamagedError:
        state.unlink()
        return _write_results(workspace, splits, state)


def _write_results(workspace: Workspace, splits: Sequence[str], state: Path) -> dict[Path, str]:
    first = next(workspace.corrected.batches(), None)
    schema = _table_schema(first.schema) if first is not None else pa.schema([])
    parts = {split: workspace.samples_of(split) for split in splits}
    for stale in set(workspace.folder.glob("samples-*.jsonl")) - set(parts.values()):
        stale.unlink()
    lines = (workspace.samples, *parts.values(), workspace.ledger)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(database(workspace.work))
        thread = stack.enter_context(ThreadPoolExecutor(1))
        (table,), texts = stack.enter_context(open_block_files(state, {workspace.samples_table: schema}, lines))
        *of_kept, of_marked = texts
        read, decided = _Reader(workspace), _Decided(workspace)
        keys = _block_keys(workspace, schema, decided)
        total, block = workspace.corrected.row_count(), 0
        encoded: list[tuple[str, Future[RowGroup] | RowGroup]] = []
        places = zip(workspace.corrected.starts(), workspace.corrected.counts(), strict=True)
        for number, ((start, count), (kept_key, marked_key)) in enumerate(
            zip(places, _line_keys(workspace, splits, decided), strict=True)
        ):
            wanted = [not file.repeat(kept_key) for file in of_kept]
            part = read.part(number) if count and any(wanted) else None
            for file, split in itertools.compress(zip(of_kept, (None, *splits), strict=True), wanted):
                file.add(kept_key, _as_lines(part.records(split)) if part else b"")
            if not of_marked.repeat(marked_key):
                about = part or (read.about(number) if count else None)
                of_marked.add(marked_key, _as_lines(about.ledger_lines(connection)) if about else b"")
            _add(table, encoded)
            # The blocks that end here: the parts that they consist of are in memory. A thread encodes them meanwhile.
            while block < len(keys) and min((block + 1) * ROWS_A_GROUP, total) <= start + count:
                group = table.kept(keys[block])
                if group is None:
                    rows = pa.Table.from_batches([read.block(block).with_decisions(schema)])
                    encoded.append((keys[block], thread.submit(table.encoded, rows)))
                else:
                    encoded.append((keys[block], group))
                block += 1
        _add(table, encoded)
    written = dict(zip(lines, texts, strict=True))
    return {workspace.samples_table: table.sha256(), **{path: file.sha256() for path, file in written.items()}}


def _add(table: TableFile, groups: list[tuple[str, Future[RowGroup] | RowGroup]]) -> None:
    """Append row groups, of which some are being encoded; empties the list."""
    for key, group in groups:
        table.add(key, group.result() if isinstance(group, Future) else group)
    groups.clear()


class _Decided:
    """What the results hold of the decisions: found once for each row group of these.

    Attributes:
        blocks: a digest of it for each block.
    """

    def __init__(self, workspace: Workspace) -> None:
        state, groups = workspace.work / "decided_groups.json", group_digests(workspace.decisions)
        try:
            known = {str(digest): (str(said), str(bits)) for digest, (said, bits) in read_json(state).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            known = {}
        found: dict[str, tuple[str, str]] = {}
        with pq.ParquetFile(workspace.decisions) as table:
            for number, digest in enumerate(groups):
                found[digest] = known.get(digest) or _said(table.read_row_group(number, columns=[*_DECIDED]))
        if found != known:
            write_state(state, found)
        self.blocks = [found[digest][0] for digest in groups]
        bits = (np.frombuffer(bytes.fromhex(found[digest][1]), np.uint8) for digest in groups)
        self._dropped = np.concatenate([np.empty(0, np.uint8), *(np.unpackbits(each)[:ROWS_A_GROUP] for each in bits)])

    def dropped(self, start: int, end: int) -> str:
        """Digest of which of the rows at some positions are dropped."""
        return sha256_bytes(np.packbits(self._dropped[start:end]).tobytes())


def _said(decisions: pa.Table) -> tuple[str, str]:
    """Digest of some decisions, and which rows they drop as bits in hex."""
    dropped = pc.equal(decisions["decision"], "drop").to_numpy()
    return digest_of_rows(decisions), np.packbits(dropped).tobytes().hex()


def _block_keys(workspace: Workspace, schema: pa.Schema, decided: _Decided) -> list[str]:
    """For each block of the table a digest of everything that it is made from."""
    made_by = [_VERSION, pa.__version__, str(schema)]
    pieces = pieces_of_blocks(workspace.corrected)
    assigned = group_digests(workspace.splits) if workspace.splits.is_file() else [""] * len(pieces)
    return [
        digest_of([made_by, number, *block])
        for number, block in enumerate(zip(pieces, decided.blocks, assigned, strict=True))
    ]


def _line_keys(workspace: Workspace, splits: Sequence[str], decided: _Decided) -> list[tuple[str, str]]:
    """For each part of the rows digests of everything that its lines are made from, wherever it is in the set: those of
    kept rows, and those of the ledger.
    """
    made_by = [_VERSION, pa.__version__, list(splits)]
    corrected = workspace.corrected
    assigned = Rows(workspace.splits, [ASSIGNED_SPLIT]) if splits else None
    found = []
    for name, start, count, decisions in zip(
        corrected.names(), corrected.starts(), corrected.counts(), part_digests(workspace), strict=True
    ):
        rows = pa.Table.from_batches([assigned.between(start, start + count)]) if assigned and count else None
        said = [decided.dropped(start, start + count), rows is not None and digest_of_rows(rows)]
        found.append((digest_of([made_by, name, "kept", said]), digest_of([made_by, name, "marked", decisions])))
    return found


class _Reader:
    """Reads rows, their decisions and splits side by side."""

    def __init__(self, workspace: Workspace) -> None:
        self._rows = BlockReader(workspace.corrected, [*_COLUMNS, "content_hash", "record"])
        self._about = BlockReader(workspace.corrected, ["position", *_ABOUT])
        self._decisions = Rows(workspace.decisions)
        self._splits = Rows(workspace.splits, [ASSIGNED_SPLIT]) if workspace.splits.is_file() else None

    def part(self, number: int) -> _Block:
        """A part of the corrected rows."""
        return self._beside(self._rows.part(number))

    def about(self, number: int) -> _Block:
        """A part, without what the ledger does not say."""
        return self._beside(self._about.part(number))

    def block(self, number: int) -> _Block:
        """A block of the table."""
        return self._beside(self._rows.block(number))

    def _beside(self, rows: pa.RecordBatch) -> _Block:
        start = rows.column("position")[0].as_py()
        decisions = self._decisions.between(start, start + len(rows))
        assigned = self._splits.between(start, start + len(rows)).column(0) if self._splits else None
        splits = assigned if assigned is not None else pa.nulls(rows.num_rows, pa.string())
        dropped = pc.equal(decisions.column("decision"), "drop")
        return _Block(rows, decisions, pc.if_else(dropped, pa.scalar(None, pa.string()), splits))


def _as_lines(lines: pa.StringArray) -> bytes:
    found = []
    for start in range(0, len(lines), _LINES_AT_ONCE):
        ended = pc.binary_join_element_wise(lines.slice(start, _LINES_AT_ONCE), "", "\n")
        _, ends, text = ended.buffers()
        found.append(memoryview(text)[: int(np.frombuffer(ends, np.int32, len(ended) + 1)[-1])])
    return b"".join(found)


def _table_schema(rows: pa.Schema) -> pa.Schema:
    own = [rows.field(name) for name in _COLUMNS]
    tail = (*_DECIDED, ASSIGNED_SPLIT, "content_hash", "record")
    return pa.schema([*own, *(pa.field(name, pa.string()) for name in tail)])


@dataclass(frozen=True)
class _Block:
    """Rows, their decisions and splits side by side.

    A dropped row has no split, nor has any row of a set that is not split.
    """

    rows: pa.RecordBatch
    decisions: pa.RecordBatch
    splits: pa.StringArray

    def records(self, split: str | None) -> pa.StringArray:
        """Of the rows that are kept, or of those of a split."""
        wanted = pc.not_equal(self.decisions.column("decision"), "drop")
        if split is not None:
            wanted = pc.fill_null(pc.equal(self.splits, split), False)
        return self.rows.column("record").filter(wanted)

    def with_decisions(self, schema: pa.Schema) -> pa.RecordBatch:
        """Rows of ``samples.parquet``."""
        found = {ASSIGNED_SPLIT: self.splits, **{name: self.decisions.column(name) for name in _DECIDED}}
        columns = [found[name] if name in found else self.rows.column(name) for name in schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def ledger_lines(self, connection: duckdb.DuckDBPyConnection) -> pa.StringArray:
        """Of the rows that are dropped or flagged."""
        marked = pc.not_equal(self.decisions.column("decision"), "keep")
        connection.register("decided", self.decisions.filter(marked))
        connection.register("about", self.rows.select(_ABOUT).filter(marked))
        return connection.sql(_LEDGER).to_arrow_table()["line"].combine_chunks()
