"""``decisions.parquet``: one decision per row, in blocks; those of which nothing has changed are copied.

The lists of fired rules are put together in Arrow: names, conditions and thresholds are constants that need no query,
and most rows have no fired rule.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.row_blocks import BlockReader, Piece, Rows, pieces_of_blocks
from curate.rules.checked import CheckedRule
from curate.rules.judged import ROW, between, moved
from curate.rules.part_facts import digest_of_rows
from curate.workspace import Workspace
from winnow.files import digest_of, read_json, sha256_file, write_state
from winnow.parquet.block_files import open_block_files
from winnow.parquet.footer import RowGroup
from winnow.parquet.table_parts import POSITION, Parts
from winnow.parquet.tables import ROWS_A_GROUP, literal

_FIRED = pa.struct(
    [(name, pa.string()) for name in ("rule", "action", "expression", "values", "threshold", "related_row")]
)
DECISIONS = pa.schema(
    [
        ("position", pa.int64()),
        ("sample_id", pa.string()),
        ("decision", pa.string()),
        ("reason", pa.string()),
        ("rules", pa.list_(_FIRED)),
        ("duplicate_group", pa.string()),
        ("representative", pa.string()),
        ("edited_copy_of", pa.string()),
        ("duplicate_kind", pa.string()),
        ("duplicate_strength", pa.float64()),
        ("duplicate_distance", pa.float64()),
        ("hamming", pa.int32()),
        ("contaminated_kind", pa.string()),
    ]
)
_DIGESTS, _MADE, _PARTS = "decided_parts.json", "decisions", "parts"
_VERSION = 1  # raise it when the same facts make other decisions
_GROUPS_AT_ONCE = 4  # row groups whose decisions are in memory
_REVIEWED = "a reviewer decided"
# What evaluation sets have of each row.
_BY_POSITION = """
    CREATE TABLE evaluations AS SELECT r.position, c.evaluation, c.kind AS contaminated_kind
    FROM contaminations c JOIN {rows} r USING (sample_id);
    CREATE TABLE leaks AS SELECT r.position, k.text_evaluation FROM text_leaks k JOIN {rows} r USING (sample_id)
"""
# What is said of a row by evaluation sets and texts like its own.
_SAID = """
    WITH e AS (SELECT * FROM evaluations WHERE position >= $start AND position < $end),
    k AS (SELECT * FROM leaks WHERE position >= $start AND position < $end),
    m AS (SELECT * FROM similar_texts WHERE position >= $start AND position < $end)
    SELECT position, e.* EXCLUDE (position), k.* EXCLUDE (position), m.* EXCLUDE (position)
    FROM (SELECT position FROM e UNION SELECT position FROM k UNION SELECT position FROM m)
    LEFT JOIN e USING (position) LEFT JOIN k USING (position) LEFT JOIN m USING (position) ORDER BY position
"""
# What a decision reports beside the rules, of the rows of which something is known.
_MORE = """
    WITH d AS (SELECT * FROM duplicates WHERE position >= $start AND position < $end),
    e AS (SELECT * FROM evaluations WHERE position >= $start AND position < $end),
    k AS (SELECT * FROM leaks WHERE position >= $start AND position < $end),
    m AS (SELECT * FROM similar_texts WHERE position >= $start AND position < $end)
    SELECT position, d.duplicate_group, d.duplicate_of, d.edited_copy_of, d.kind AS duplicate_kind,
           d.strength AS duplicate_strength, d.conflict_with, d.distance, d.hamming, e.evaluation,
           e.contaminated_kind, k.text_evaluation, m.question_cluster, m.answer_cluster, m.row_cluster
    FROM (
        SELECT position FROM d UNION SELECT position FROM e UNION SELECT position FROM k UNION SELECT position FROM m
    ) LEFT JOIN d USING (position) LEFT JOIN e USING (position) LEFT JOIN k USING (position)
    LEFT JOIN m USING (position)
    ORDER BY position
"""


def write_decisions(
    rows: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    stages: Mapping[str, Parts],
    thresholds: Sequence[str | None],
) -> None:
    """Write the decisions in input order; a thread finds those of the next rows while some are encoded.

    Row groups that are as they were are copied, and rows that only stand elsewhere keep their decisions.

    Args:
        rows: with the views of ``curate.views`` as they were before rows were compared.
        stages: the rules that fired on each row, as ``curate.rules.order.judge`` returns them.
        thresholds: of each rule, as they are put on record.

    Raises:
        UserError: the file cannot be written.
    """
    corrected = workspace.corrected
    query = _block_sql(rules)
    stored = BlockReader(corrected, ["position", "sample_id", "forced", "forced_by"])
    pieces = pieces_of_blocks(corrected)
    beside = [*stages.values(), *([workspace.duplicate_rows] if workspace.duplicate_rows.exists() else [])]
    said_beside = [pieces_of_blocks(corrected, parts.names()) for parts in beside]
    others = (workspace.contamination_rows, workspace.text_leaks, workspace.similar_texts)
    is_said = any(path.is_file() for path in others)
    said = [(rule.name, rule.action, rule.expression.text, rule.related_column, bool(rule.cap)) for rule in rules]
    made_by = [_VERSION, pa.__version__, str(DECISIONS), said, thresholds]
    fired = _Fired(corrected, stages)
    rows.execute(_BY_POSITION.format(rows="rows" if is_said else "(SELECT * FROM rows LIMIT 0)"))

    def digest_of_part(name: str, start: int, count: int, *names: str) -> str:
        found = rows.sql(_SAID, params={"start": start, "end": start + count}).to_arrow_table() if is_said else None
        return digest_of([made_by, name, names, found is not None and digest_of_rows(moved(found, -start))])

    names_beside = (parts.names() for parts in beside)
    digests = list(map(digest_of_part, corrected.names(), corrected.starts(), corrected.counts(), *names_beside))
    earlier, parts_of = _Earlier(workspace), pieces_of_blocks(corrected, digests)

    def decided(first: int) -> list[tuple[str, RowGroup | pa.Table]]:
        """Key and decisions of some row groups from number ``first`` on."""
        numbers = range(first, min(first + _GROUPS_AT_ONCE, len(pieces)))
        bounds = {"start": first * ROWS_A_GROUP, "end": (first + _GROUPS_AT_ONCE) * ROWS_A_GROUP}
        by_others = rows.sql(_SAID, params=bounds).to_arrow_table() if is_said else None
        keys = [
            digest_of(
                [
                    made_by, number, pieces[number], *(each[number] for each in said_beside),
                    by_others is not None and digest_of_rows(_of(by_others, number)),
                ]
            )
            for number in numbers
        ]  # fmt: skip
        groups: list[RowGroup | pa.Table | None] = [
            table.kept(key) or earlier.block(number, parts_of[number])
            for number, key in zip(numbers, keys, strict=True)
        ]
        new = [at for at, group in enumerate(groups) if group is None]
        if new:
            numbers = numbers[new[0] : new[-1] + 1]
            found = fired.between(rows, numbers[0] * ROWS_A_GROUP, (numbers[-1] + 1) * ROWS_A_GROUP)
            rows.register("base", pa.Table.from_batches([stored.block(number) for number in numbers]))
            rows.register("fired", found)
            if workspace.duplicate_rows.exists():
                some = _parts_between(corrected, bounds["start"], bounds["end"])
                duplicates = workspace.duplicate_rows.sql_beside(corrected, some)
                rows.execute(f"CREATE OR REPLACE VIEW duplicates AS {duplicates}")
            rows.register("more", rows.sql(_MORE, params=bounds).to_arrow_table())
            judged = rows.sql(query).to_arrow_table().combine_chunks()
            judged = judged.append_column("rules", _fired_lists(judged, found, rules, thresholds))
            judged = judged.select(DECISIONS.names).cast(DECISIONS)
            for at in new:
                groups[at] = judged.slice((at - new[0]) * ROWS_A_GROUP, ROWS_A_GROUP).combine_chunks()
        return [(key, group) for key, group in zip(keys, groups, strict=True) if group is not None]

    files = open_block_files(workspace.work / "decided.json", {workspace.decisions: DECISIONS})
    with files as ((table,), _), ThreadPoolExecutor(1) as thread:
        ready: Future[list[tuple[str, RowGroup | pa.Table]]] | None = None
        for start in [*range(0, len(pieces), _GROUPS_AT_ONCE), None]:
            following = thread.submit(decided, start) if start is not None else None
            for key, group in ready.result() if ready else []:
                table.add(key, group if isinstance(group, RowGroup) else table.encoded(group))
            ready = following
    note = {_MADE: table.sha256(), _PARTS: list(zip(digests, corrected.starts(), strict=True))}
    write_state(workspace.work / _DIGESTS, note)


def _noted(workspace: Workspace) -> list[tuple[str, int]] | None:
    """Of each part of the rows that was decided last the digest, and where it began; None if that is not known."""
    try:
        note = read_json(workspace.work / _DIGESTS)
        if note[_MADE] == sha256_file(workspace.decisions):
            return [(str(digest), int(start)) for digest, start in note[_PARTS]]
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


class _Earlier:
    """The decisions of an earlier run, which hold for equal parts wherever these are now."""

    def __init__(self, workspace: Workspace) -> None:
        noted = _noted(workspace)
        self._starts = dict(noted or [])
        self._rows = Rows(workspace.decisions)

    def block(self, number: int, pieces: Sequence[Piece]) -> pa.Table | None:
        """Those of a row group; None if one of its pieces is new.

        Args:
            pieces: with the digest of each part as its name.
        """
        if not all(digest in self._starts for digest, _, _ in pieces):
            return None
        places = [(self._starts[digest] + first, self._starts[digest] + last) for digest, first, last in pieces]
        found = pa.Table.from_batches([self._rows.between(*place) for place in places]).combine_chunks()
        first = number * ROWS_A_GROUP
        return found.set_column(0, POSITION, pa.array(range(first, first + len(found)), pa.int64())).cast(DECISIONS)


def part_digests(workspace: Workspace) -> list[str]:
    """For each part of the corrected rows a digest of the decisions about them, wherever they are in the set."""
    if (noted := _noted(workspace)) is not None:
        return [digest for digest, _ in noted]
    # Decided by something else than `write_decisions`, as a selection is.
    found, decisions = [], Rows(workspace.decisions)
    for start, count in zip(workspace.corrected.starts(), workspace.corrected.counts(), strict=True):
        rows = pa.Table.from_batches([decisions.between(start, start + count)]) if count else DECISIONS.empty_table()
        found.append(digest_of_rows(moved(rows, -start)))
    return found


def _of(rows: pa.Table, number: int) -> pa.Table:
    """Those rows of a table, in the order of their positions, that are in a row group."""
    return between(rows, number * ROWS_A_GROUP, (number + 1) * ROWS_A_GROUP)


def _parts_between(corrected: Parts, start: int, end: int) -> list[int]:
    """The parts that have a row at one of some positions."""
    places = enumerate(zip(corrected.starts(), corrected.counts(), strict=True))
    return [number for number, (first, count) in places if first < end and first + count > start]


class _Fired:
    """The rules that fired, by position."""

    def __init__(self, corrected: Parts, stages: Mapping[str, Parts]) -> None:
        self._stages = {name: parts.files() for name, parts in stages.items()}
        self._corrected, self._starts = corrected, corrected.starts()
        self._read = functools.lru_cache(maxsize=4 * max(len(stages), 1))(_read_fired)

    def between(self, connection: duckdb.DuckDBPyConnection, start: int, end: int) -> pa.Table:
        """Of the rows at some positions, ascending: of all stages side by side."""
        some = _parts_between(self._corrected, start, end)
        for name, files in self._stages.items():
            found = pa.concat_tables([self._read(files[number], self._starts[number]) for number in some])
            connection.register(name, between(found, start, end))
        first, *others = self._stages
        joined = " ".join(f"FULL JOIN {name} USING (position)" for name in others)
        return connection.sql(f"SELECT * FROM {first} {joined} ORDER BY position").to_arrow_table()


def _read_fired(path: Path, start: int) -> pa.Table:
    rows = pq.ParquetFile(path).read()
    return rows.set_column(0, POSITION, pc.add(rows[ROW], pa.scalar(start, pa.int64())))


def _block_sql(rules: Sequence[CheckedRule]) -> str:
    """Query: the rows of ``base`` with their decision.

    Beside ``base`` it reads ``more``, of ``_MORE``, and ``fired``, of ``_fired_sql``.
    """
    drops = [(k, rule) for k, rule in enumerate(rules) if rule.action == "drop"]
    reason = "".join(f"WHEN f{k} THEN {literal(rule.name)} " for k, rule in drops)
    any_fired = " OR ".join(f"f{k}" for k in range(len(rules))) or "false"
    return f"""
        SELECT * EXCLUDE (cause, flagged),
            CASE WHEN override IN ('keep', 'drop') THEN override WHEN cause IS NOT NULL THEN 'drop'
                 WHEN flagged OR override = 'flag' THEN 'flag' ELSE 'keep' END AS decision,
            CASE override WHEN 'keep' THEN NULL WHEN 'drop' THEN 'correction' ELSE cause END AS reason
        FROM (
            SELECT b.position, b.sample_id, b.forced AS override, b.forced_by AS override_by, m.* EXCLUDE (position),
                m.duplicate_of AS representative, m.distance AS duplicate_distance, cause, flagged
            FROM base b LEFT JOIN more m USING (position) LEFT JOIN (
                SELECT position, CASE WHEN false THEN NULL::VARCHAR {reason}END AS cause, {any_fired} AS flagged
                FROM fired
            ) f USING (position)
        ) ORDER BY position
    """


def _fired_lists(
    judged: pa.Table, fired: pa.Table, rules: Sequence[CheckedRule], thresholds: Sequence[str | None]
) -> pa.ListArray:
    """The fired rules of each row, in recipe order, a reviewer's decision last.

    Args:
        judged: consecutive rows; fired: those of them, and of others, on which a rule fired.
    """
    of_row = {name: judged[name].combine_chunks() for name in judged.column_names}
    row_of = fired["position"].to_numpy() - (judged["position"][0].as_py() if len(judged) else 0)
    fired = fired.filter(pa.array((row_of >= 0) & (row_of < len(judged)))).combine_chunks()
    row_of = row_of[(row_of >= 0) & (row_of < len(judged))]
    of_fired = {name: fired[name].combine_chunks() for name in fired.column_names}
    flags = np.zeros((len(fired), len(rules)), bool)
    for k in range(len(rules)):
        flags[:, k] = of_fired[f"f{k}"].fill_null(False).to_numpy(zero_copy_only=False)
    place, which = np.nonzero(flags)
    overridden = np.flatnonzero(of_row["override"].is_valid().to_numpy(zero_copy_only=False))
    # Each entry of the lists: its row, its rule (after the last one: a reviewer), and its place among the fired rows.
    row = np.concatenate([row_of[place], overridden])
    which = np.concatenate([which, np.full(len(overridden), len(rules))])
    place = np.concatenate([place, np.zeros(len(overridden), np.int64)])
    order = np.lexsort((which, row))
    row, which, place = row[order], which[order], place[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(judged)))]).astype(np.int32)

    def constant(texts: list[str | None]) -> pa.Array:
        return pa.array(texts, pa.string()).take(pa.array(which))

    def values(names: list[str | None]) -> pa.Array:
        """The value in the column that belongs to the rule, of the row or of its entry in ``fired``; else null."""
        columns = [pa.nulls(1, pa.string())]
        starts, step = np.zeros(len(names), np.int64), np.zeros((len(names), 2), np.int64)
        for k, name in enumerate(names):
            if name is not None:
                starts[k] = sum(map(len, columns))
                column = of_fired[name] if name in of_fired else of_row[name]
                step[k] = (1, 0) if name in of_fired else (0, 1)
                columns.append(column.cast(pa.string()))
        taken = starts[which] + step[which, 0] * place + step[which, 1] * row
        return pa.concat_arrays(columns).take(pa.array(taken))

    reviewed = pa.array(which == len(rules))
    action = pc.if_else(reviewed, of_row["override"].take(pa.array(row)), constant([*(r.action for r in rules), None]))
    records = pa.StructArray.from_arrays(
        [
            constant([*(rule.name for rule in rules), "correction"]),
            action,
            constant([*(rule.expression.text for rule in rules), _REVIEWED]),
            values([*(f"v{k}" for k in range(len(rules))), "override_by"]),
            constant([*thresholds, None]),
            values([*(f"r{k}" if rule.cap else rule.related_column for k, rule in enumerate(rules)), None]),
        ],
        fields=list(_FIRED),
    )
    return pa.ListArray.from_arrays(pa.array(offsets), records)
