"""Writes a curation's results: samples.jsonl (kept rows), samples.parquet (all rows), ledger.jsonl (dropped, flagged).

Also ``contamination.parquet`` and ``contamination.json``: what evaluation sets share with the data, and whether it was
dropped; and the counts of all that, for the manifest, the card and the terminal.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.duplicates.contamination import CONTAMINATION
from curate.kinds import KINDS
from curate.readers.facts import SourceFacts
from curate.report.summaries import Summary
from curate.row_blocks import BlockReader, Rows, pieces_of_blocks
from curate.row_keys import shown_keys
from curate.rules.checked import CheckedRule
from curate.rules.decisions import part_digests
from curate.rules.part_facts import digest_of_rows
from curate.workspace import ASSIGNED_SPLIT, Workspace
from winnow.block_files import TableFile, open_block_files
from winnow.files import digest_of, read_json, sha256_bytes, write_json
from winnow.parquet_footer import RowGroup, group_digests
from winnow.tables import ROWS_A_GROUP, database, literal, parquet, query_batches, write_parquet

NOT_SELECTED = "not_selected"  # the rule of ``curate.selection``, which no recipe has
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
    first = next(workspace.corrected.batches(), None)
    schema = _table_schema(first.schema) if first is not None else pa.schema([])
    parts = {split: workspace.samples_of(split) for split in splits}
    for stale in set(workspace.folder.glob("samples-*.jsonl")) - set(parts.values()):
        stale.unlink()
    lines = (workspace.samples, *parts.values(), workspace.ledger)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(database(workspace.work))
        thread = stack.enter_context(ThreadPoolExecutor(1))
        (table,), texts = stack.enter_context(
            open_block_files(workspace.work / "results.json", {workspace.samples_table: schema}, lines)
        )
        *of_kept, of_marked = texts
        read, decided = _Reader(workspace), _Decided(workspace)
        keys = _block_keys(workspace, schema, decided)
        total, block = workspace.corrected.row_count(), 0
        encoded: list[tuple[str, Future[RowGroup] | RowGroup]] = []
        places = zip(workspace.corrected.starts(), workspace.corrected.counts(), strict=True)
        for number, ((start, count), (kept_key, marked_key)) in enumerate(
            zip(places, _line_keys(workspace, splits, decided), strict=True)
        ):
            made = [found for file in of_kept if (found := file.kept(kept_key)) is not None]
            part = read.part(number) if count and len(made) < len(of_kept) else None
            if len(made) < len(of_kept):
                made = [_as_lines(part.records(split)) if part else b"" for split in (None, *splits)]
            for file, each in zip(of_kept, made, strict=True):
                file.add(kept_key, each)
            marked = of_marked.kept(marked_key)
            if marked is None:
                about = part or (read.about(number) if count else None)
                marked = _as_lines(about.ledger_lines(connection)) if about else b""
            of_marked.add(marked_key, marked)
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
            write_json(state, found)
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


REPORT = pa.schema([*CONTAMINATION, ("dropped", pa.bool_()), ("reason", pa.string())])
_COUNTED = {
    "rows": "count(DISTINCT sample_id)",
    "rows_with_same_question": "count(DISTINCT sample_id) FILTER (WHERE same_question)",
    "rows_by_question_alone": "count(DISTINCT sample_id) FILTER (WHERE match = 'question')",
    "rows_dropped": "count(DISTINCT sample_id) FILTER (WHERE dropped)",
    "rows_suspected": "count(DISTINCT sample_id) FILTER (WHERE action = 'flag')",
    "images": "count(DISTINCT image_key)",
    "images_by_bytes": "count(DISTINCT image_key) FILTER (WHERE match = 'bytes')",
}


def write_contamination_report(workspace: Workspace) -> list[Path]:
    """Join the matches with the decisions; returns the files, none where no evaluation set was given.

    ``contamination.parquet`` has one row for each training row, benchmark and image: how they match (``bytes``,
    ``look``, ``edit``, ``question``), the kind of copy with its strength (0-1) and the recipe's action for it, for a
    look distances of the thumbnails (0-255) and of the hashes (bits of 64), the evaluation row, whether it asks the
    same, and whether and by which rule the training row was dropped. ``contamination.json`` counts them per benchmark.
    """
    found = [workspace.contamination, workspace.contamination_report]
    if not workspace.contamination_rows.is_file():
        for path in found:
            path.unlink(missing_ok=True)
        return []
    with database(workspace.work) as connection:
        joined = f"""
            SELECT c.* EXCLUDE (file_row_number), d.decision = 'drop' AS dropped, d.reason
            FROM read_parquet({literal(str(workspace.contamination_rows))}, file_row_number = true) c
            JOIN {parquet([workspace.decisions])} d ON d.sample_id = c.sample_id ORDER BY c.file_row_number
        """
        batches = query_batches(connection, joined)
        write_parquet(workspace.contamination, batches, REPORT)
        write_json(workspace.contamination_report, {"benchmarks": _benchmarks(connection, workspace)})
    return found


def read_contamination_report(workspace: Workspace) -> list[dict[str, Any]]:
    """The counts of each benchmark, in the recipe's order."""
    if not workspace.contamination_report.is_file():
        return []
    made: list[dict[str, Any]] = json.loads(workspace.contamination_report.read_text(encoding="utf-8"))["benchmarks"]
    return made


def _benchmarks(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> list[dict[str, Any]]:
    table = parquet([workspace.contamination])
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COUNTED.items())
    made = []
    for counts in json.loads(workspace.contamination_counts.read_text(encoding="utf-8")):
        name = [counts["benchmark"]]
        values = connection.execute(f"SELECT {columns} FROM {table} WHERE benchmark = ?", name).fetchall()[0]
        images = f"(SELECT DISTINCT image_key, hamming, distance FROM {table} WHERE benchmark = ? AND match = 'look')"
        hamming = connection.execute(f"SELECT hamming, count(*) FROM {images} GROUP BY 1 ORDER BY 1", name).fetchall()
        distance = connection.execute(
            f"SELECT ceil(distance)::INTEGER, count(*) FROM {images} GROUP BY 1 ORDER BY 1", name
        ).fetchall()
        made.append(
            {
                **counts,
                **dict(zip(_COUNTED, values, strict=True)),
                "kinds": _by_kind(connection, f"(SELECT * FROM {table} WHERE benchmark = ?)", name),
                "look_images_by_hamming": {str(bits): count for bits, count in hamming},
                "look_images_by_distance_up_to": {str(upper): count for upper, count in distance},
            }
        )
    return made


def _by_kind(connection: duckdb.DuckDBPyConnection, matches: str, values: list[str]) -> list[dict[str, Any]]:
    """Images and rows of each kind of match, in the order of the kinds."""
    found = connection.execute(
        f"""
        SELECT kind, any_value(action), count(DISTINCT image_key), count(DISTINCT sample_id),
               count(DISTINCT sample_id) FILTER (WHERE dropped)
        FROM {matches} GROUP BY kind
        """,
        values,
    ).fetchall()
    names = ("kind", "action", "images", "rows", "rows_dropped")
    order = (*KINDS, "question")
    return sorted((dict(zip(names, row, strict=True)) for row in found), key=lambda one: order.index(one["kind"]))


def _copies(copies: Mapping[tuple[str, bool], tuple[int, int]]) -> list[dict[str, Any]]:
    """Rows that repeat another one, by the kind of copy that their images are."""
    names = ("kind", "duplicate", "rows", "rows_dropped")
    found = [dict(zip(names, (kind, repeats, *numbers), strict=True)) for (kind, repeats), numbers in copies.items()]
    return sorted(found, key=lambda one: (KINDS.index(one["kind"]), one["duplicate"]))


# Paths of one class are counted together if their details differ only in names and numbers, but not in a setting that
# they name, as "found as a.jpg in img/; set `image_root: img`".
_IMAGE_ERRORS = r"""
    SELECT error, arg_min(error_detail, path) AS detail, count(*) AS images, min(path) AS example
    FROM {paths} SEMI JOIN (SELECT unnest(images) AS path FROM {rows}) USING (path)
    WHERE {wrong}
    GROUP BY error, regexp_replace(
        regexp_replace(coalesce(error_detail, ''), 'found as [^;]*', 'found'), '\d+|[''][^'']*['']', '…', 'g'
    ) ORDER BY images DESC, example LIMIT 20
"""


def count_rows(
    workspace: Workspace, summary: Summary, rules: list[CheckedRule], read: Sequence[SourceFacts]
) -> dict[str, Any]:
    """Rows by decision, by rule and by source, and what was found while reading, as the manifest holds them.

    ``rules``: each with ``fired`` (rows), ``reason`` (rows that it is the reason of: the step of
    the funnel) and ``alone`` (rows on which no other rule fired). ``image_errors``: image paths that cannot be used,
    by class and detail, the 20 most frequent.
    """
    decisions, reasons, fired = summary.decisions, summary.reasons, summary.fired
    keys = shown_keys(workspace)
    shown = [_distinct([part[of] for part in keys]) for of in (1, 0)]  # paths, images
    with database(workspace.work) as connection:
        errors = _image_errors(connection, workspace)
    actions = {rule.name: rule.action for rule in rules}
    columns = {rule.name: list(rule.expression.columns) for rule in rules}
    unvalidated = {rule.name: list(rule.unvalidated) for rule in rules}
    if "correction" in fired:
        actions["correction"] = "drop"
    if NOT_SELECTED in fired:
        actions[NOT_SELECTED] = "drop"
    corrections = json.loads(workspace.corrections.read_text(encoding="utf-8"))["counts"]
    return {
        "rows": sum(decisions.values()),
        "keep": decisions.get("keep", 0),
        "flag": decisions.get("flag", 0),
        "drop": decisions.get("drop", 0),
        "paths": shown[0],
        "images": shown[1],
        "image_errors": errors,
        "rules": [
            {
                "rule": name,
                "action": action,
                "columns": columns.get(name, []),
                "unvalidated": unvalidated.get(name, []),
                "fired": fired.get(name, (0, 0))[0],
                "reason": reasons.get(name, 0),
                "alone": fired.get(name, (0, 0))[1],
            }
            for name, action in actions.items()
        ],
        "sources": [
            {"source": name, "rows": sum(numbers), **dict(zip(("keep", "flag", "drop"), numbers, strict=True))}
            for name, numbers in summary.sources.items()
        ],
        "splits": _splits(workspace),
        "copies": _copies(summary.copies),
        "contamination": read_contamination_report(workspace),
        "corrections": corrections,
        "read": [facts.model_dump(mode="json") for facts in read],
    }


def _distinct(keys: Sequence[NDArray[np.uint64]]) -> int:
    """How many there are of all parts, but for 0, an image that cannot be read."""
    return int(np.count_nonzero(np.unique(np.concatenate([np.empty(0, np.uint64), *keys]))))


def _image_errors(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> list[dict[str, Any]]:
    paths = parquet([workspace.paths])
    wrong = "error IS NOT NULL AND error NOT IN ('wrong_extension', 'animated')"
    if not connection.execute(f"SELECT 1 FROM {paths} WHERE {wrong} LIMIT 1").fetchall():
        return []
    query = _IMAGE_ERRORS.format(paths=paths, rows=workspace.corrected.sql(), wrong=wrong)
    found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return found


def _splits(workspace: Workspace) -> list[dict[str, Any]]:
    """Per source: its kept rows, in all and in each split; [] for a set that is not split."""
    if not workspace.splits.is_file():
        return []
    with database(workspace.work) as connection:
        found = connection.execute(f"""
            SELECT s.source, p.assigned_split, count(*)
            FROM {workspace.corrected.sql()} s JOIN {parquet([workspace.splits])} p USING (position)
            JOIN {parquet([workspace.decisions])} d USING (position)
            WHERE d.decision <> 'drop' GROUP BY 1, 2 ORDER BY min(s.position), 2
        """).fetchall()
    by_source: dict[str, dict[str, int]] = {}
    for source, split, count in found:
        by_source.setdefault(source, {})[split] = count
    return [{"source": name, "total": sum(rows.values()), "rows": rows} for name, rows in by_source.items()]


@dataclass(frozen=True)
class Leaks:
    """What was found.

    Attributes:
        folder: where what was read and measured is kept.
        rows, images: size of the set.
        sets: of each evaluation set: ``benchmark``, ``evaluation_rows``, ``evaluation_images``, how many of these were
            found (``evaluation_images_found``, ``evaluation_images_by_kind``), ``rows`` of the set that hold them, and
            ``examples``.
        not_measured: a sentence about images that storage or machines have failed; None if there are none.
    """

    folder: Path
    rows: int
    images: int
    sets: list[dict[str, Any]]
    not_measured: str | None = None

    @property
    def found(self) -> int:
        """Rows of the set that hold something of an evaluation set, counted once for each."""
        return sum(one["rows"] for one in self.sets)
