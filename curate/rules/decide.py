"""Rules over stored signals → one decision per row: keep, flag or drop, the reason, and every rule that fired.

Decodes nothing. Conditions are checked by ``curate.rules.expression`` and run in a DuckDB connection that reaches no
file, network or setting: the facts are loaded first, then it is locked. The lists of fired rules are put together in
Arrow: names, conditions and thresholds are constants that need no query, and most rows have no fired rule.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import Rule
from curate.row_blocks import BlockReader, pieces_of_blocks
from curate.rules.checked import CheckedRule
from curate.rules.columns import column_types, create_facts, known_columns
from curate.rules.expression import Expression, check_types, parse_expression, quoted
from curate.rules.keep import parse_keep
from curate.rules.meta import check_any_number, is_meta, read_types
from curate.rules.order import JUDGED_LATE, facts_sql, judge, prepare
from curate.rules.setwide import asked_column
from curate.settings.copies import DuplicateSettings
from curate.views import create_views
from curate.workspace import Workspace
from winnow.block_files import TableFile, open_block_files
from winnow.errors import UserError
from winnow.files import digest_of, sha256_bytes
from winnow.parquet_footer import RowGroup
from winnow.table_parts import Parts
from winnow.tables import ROWS_A_GROUP, connect, database, literal

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
_VERSION = 1  # raise it when the same facts make other decisions
_GROUPS_AT_ONCE = 4  # row groups whose decisions are in memory
_REVIEWED = "a reviewer decided"
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
# Rules take seconds for a million rows; what takes longer is stopped.
_SECONDS, _ROWS_A_SECOND = 60, 2000


def check_rules(rules: Mapping[str, Rule], scores: tuple[str, ...] = ()) -> list[CheckedRule]:
    """Check every condition; UserError names the rule and what is wrong with it.

    Args:
        scores: columns that the recipe's prompt sets and heads add.
    """
    types = column_types(scores)
    checked = []
    for name, rule in rules.items():
        where = f"rule {name!r}"
        if rule.when is not None:
            expression, cap = parse_expression(rule.when, types, where), None
        else:
            expression, cap = parse_keep(rule.keep or "", types, where)
        unvalidated = () if rule.validated else _unvalidated(expression, scores)
        checked.append(CheckedRule(name, rule.action, expression, cap, rule.validated, unvalidated))
    return checked


def _unvalidated(expression: Expression, scores: tuple[str, ...]) -> tuple[str, ...]:
    """Scores that are not validated and decide without another score; facts beside them, as a size, do not help."""
    known = known_columns(scores)
    guesses = [name for name in expression.columns if name in known and known[name].validated != ""]
    return tuple(name for name in expression.decided_alone_by(guesses) if known[name].validated is None)


def check_on_rows(rows: Parts, rules: Sequence[CheckedRule], scores: tuple[str, ...] = ()) -> None:
    """Check the keys of ``meta`` that rules use against the rows of a set, before its images are measured.

    Args:
        rows: a table with the columns ``record`` and ``bad_row``.

    Raises:
        UserError: no row has such a key, or its values do not fit the condition.
    """
    keys = {rule.name: _keys_of_meta(rule) for rule in rules}
    if not any(keys.values()):
        return
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT record, bad_row FROM {rows.sql()}")
        types = column_types(scores)
        for name, used in keys.items():
            types |= read_types(connection, sorted(used - types.keys()), f"rule {name!r}: ")
        for asking in rules:
            ordered = {column for name in asking.expression.columns if (column := asked_column(name))}
            for column in sorted(filter(is_meta, ordered | {*asking.expression.as_numbers})):
                if types[column] == "VARCHAR":
                    check_any_number(connection, column, f"rule {asking.name!r}")
    for rule in rules:
        if not rule.cap:
            texts = {name: "VARCHAR" for name in rule.expression.columns if name.startswith("last of ")}
            check_types(rule.expression, types | texts, f"rule {rule.name!r}")


def _keys_of_meta(rule: CheckedRule) -> set[str]:
    asked = (column for name in rule.expression.columns for column in (name, asked_column(name)))
    return {column for column in asked if column and is_meta(column)}


def open_facts(
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    losses: Sequence[Path] = (),
    duplicates: DuplicateSettings | None = None,
) -> duckdb.DuckDBPyConnection:
    """A locked connection with the table ``facts``: the columns that the rules ask for.

    Args:
        duplicates: with them, the columns that depend on what other rules drop are left out (``curate.rules.order``).
    """
    connection = connect(workspace.work)
    create_views(connection, workspace, losses)
    columns = dict.fromkeys(name for rule in rules for name in rule.columns)
    create_facts(connection, [name for name in columns if not (duplicates and name in JUDGED_LATE)])
    prepare(connection, workspace, rules, duplicates)
    lock(connection)
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Lock the connection: from here on it reaches no file, network, extension or setting."""
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


@contextlib.contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt the connection's query when the time is over.

    Raises:
        UserError: the query was interrupted.
    """
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise UserError(f"the rules took longer than {seconds:,.0f} s; simplify their conditions") from error
    finally:
        timer.cancel()


def decide(
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    losses: Sequence[Path] = (),
    duplicates: DuplicateSettings | None = None,
) -> None:
    """Write ``decisions.parquet``: every row with its decision and every rule that fired, in input order.

    Row groups of which nothing has changed since an earlier run are copied from its file.

    A rule fires on a sample if it fires on any of its images; a condition that is null (a signal is
    missing) does not fire. The first dropping rule in order is the reason. A reviewer's keep or drop
    overrides the rules, which stay on record.

    Args:
        duplicates: how rows are compared; writes ``workspace.duplicate_rows`` too. None: no row is a duplicate.
    """
    count = workspace.corrected.row_count()
    late = duplicates is not None or any(rule.cap for rule in rules)
    with open_facts(workspace, rules, losses, duplicates) as connection:
        try:
            with time_limit(connection, _SECONDS + count / _ROWS_A_SECOND), database(workspace.work) as rows:
                layers = judge(connection, workspace, rules, duplicates) if late else []
                create_views(rows, workspace)
                most_images = connection.execute("SELECT coalesce(max(image_no), 0) FROM facts").fetchall()[0][0]
                fired = _fired_sql(rules, facts_sql(layers), several=most_images > 1)
                with open_block_files(workspace.work / "decided.json", {workspace.decisions: DECISIONS}) as (
                    (table,),
                    _,
                ):
                    _write_decisions(table, workspace.corrected, rows, connection, fired, rules)
        except duckdb.Error as error:
            raise UserError(f"the rules cannot be evaluated: {str(error).splitlines()[0]}") from error


def _finite(column: str) -> str:
    """The column, null where it is no number that JSON has."""
    is_float = f"typeof({column}) IN ('DOUBLE', 'FLOAT')"
    return f"CASE WHEN {is_float} AND NOT isfinite(TRY_CAST({column} AS DOUBLE)) THEN NULL ELSE {column} END"


def _fired_sql(rules: Sequence[CheckedRule], facts: str, *, several: bool) -> str:
    """For each sample with any fired rule, f<k> (fired) and v<k> (values, of the first such image).

    Of the positions from parameter ``$start`` to ``$end`` - 1 in the subquery ``facts``.
    """
    tests = [f"coalesce({rule.expression.sql}, false)" for rule in rules]
    values = [
        "to_json({" + ", ".join(f"{literal(name)}: {_finite(quoted(name))}" for name in rule.shown) + "})"
        if rule.shown
        else "'{}'"
        for rule in rules
    ]  # fmt: skip
    inner = ", ".join(
        f"{test} AS f{k}, CASE WHEN {test} THEN {value}::VARCHAR END AS v{k}"
        for k, (test, value) in enumerate(zip(tests, values, strict=True))
    )
    capped = [(k, rule.cap) for k, rule in enumerate(rules) if rule.cap]
    inner += "".join(f", {quoted(cap.filled)}[1] AS r{k}" for k, cap in capped)
    any_fires = f"FROM {facts} WHERE position >= $start AND position < $end AND ({' OR '.join(tests)})"
    if not several:  # a row of facts is a sample: nothing to group
        return f"SELECT position, {inner} {any_fires}"
    outer = ", ".join(f"bool_or(f{k}) AS f{k}, arg_min(v{k}, image_no) AS v{k}" for k in range(len(rules)))
    outer += "".join(f", any_value(r{k}) AS r{k}" for k, _ in capped)
    return f"""
        SELECT position, {outer}
        FROM (SELECT position, image_no, {inner} {any_fires}) GROUP BY position
    """


def _write_decisions(
    table: TableFile,
    corrected: Parts,
    rows: duckdb.DuckDBPyConnection,
    facts: duckdb.DuckDBPyConnection,
    fired: str,
    rules: Sequence[CheckedRule],
) -> None:
    """Write the decisions in input order; a thread finds those of the next rows while some are encoded.

    Args:
        rows: holds the views of ``curate.views``.
        facts: the locked connection in which rules run.
        fired: query of the rules that fired (f<k>: rule k fired, v<k>: its values) on positions ``$start`` to ``$end``.
    """
    rows.execute("""
        CREATE TABLE evaluations AS SELECT r.position, c.evaluation, c.kind AS contaminated_kind
        FROM contaminations c JOIN rows r USING (sample_id);
        CREATE TABLE leaks AS SELECT r.position, k.text_evaluation FROM text_leaks k JOIN rows r USING (sample_id)
    """)
    thresholds = [_threshold(facts, rule) for rule in rules]
    query = _block_sql(rules)
    stored = BlockReader(corrected, ["position", "sample_id", "forced", "forced_by"])
    pieces = pieces_of_blocks(corrected)
    said = [(rule.name, rule.action, rule.expression.text, rule.related_column, bool(rule.cap)) for rule in rules]
    made_by = [_VERSION, pa.__version__, str(DECISIONS), said, thresholds]

    def decided(first: int) -> list[tuple[str, RowGroup | pa.Table]]:
        """Key and decisions of some row groups from number ``first`` on."""
        numbers = range(first, min(first + _GROUPS_AT_ONCE, len(pieces)))
        bounds = {"start": first * ROWS_A_GROUP, "end": (first + _GROUPS_AT_ONCE) * ROWS_A_GROUP}
        sparse = [
            facts.sql(f"{fired} ORDER BY position", params=bounds).to_arrow_table(),
            rows.sql(_MORE, params=bounds).to_arrow_table(),
        ]
        known = [[_of_group(found, number) for found in sparse] for number in numbers]
        keys = [
            digest_of([made_by, number, pieces[number], *map(_digest, found)])
            for number, found in zip(numbers, known, strict=True)
        ]
        groups: list[RowGroup | pa.Table | None] = [table.kept(key) for key in keys]
        new = [at for at, group in enumerate(groups) if group is None]
        if new:
            between = numbers[new[0] : new[-1] + 1]
            facts.register("base", pa.Table.from_batches([stored.block(number) for number in between]))
            for name, found in zip(("fired", "more"), sparse, strict=True):
                facts.register(name, found)
            judged = facts.sql(query).to_arrow_table().combine_chunks()
            judged = judged.append_column("rules", _fired_lists(judged, sparse[0], rules, thresholds))
            judged = judged.select(DECISIONS.names).cast(DECISIONS)
            for at in new:
                groups[at] = judged.slice((at - new[0]) * ROWS_A_GROUP, ROWS_A_GROUP).combine_chunks()
        return [(key, group) for key, group in zip(keys, groups, strict=True) if group is not None]

    with ThreadPoolExecutor(1) as thread:
        ready: Future[list[tuple[str, RowGroup | pa.Table]]] | None = None
        for first in [*range(0, len(pieces), _GROUPS_AT_ONCE), None]:
            following = thread.submit(decided, first) if first is not None else None
            for key, group in ready.result() if ready else []:
                table.add(key, group if isinstance(group, RowGroup) else table.encoded(group))
            ready = following


def _of_group(found: pa.Table, number: int) -> pa.Table:
    """Those rows of a table, in the order of their positions, that are in a row group."""
    bounds = [number * ROWS_A_GROUP, (number + 1) * ROWS_A_GROUP]
    start, end = np.searchsorted(found["position"].to_numpy(), bounds).tolist()
    return found.slice(start, end - start)


def _digest(table: pa.Table) -> str:
    """Of the rows of a table."""
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sha256_bytes(written.getvalue())


def _threshold(facts: duckdb.DuckDBPyConnection, rule: CheckedRule) -> str | None:
    """The rule's comparisons, with the numbers that were computed for the whole set."""
    found = []
    for name in rule.expression.constants:
        rows = facts.execute(f"SELECT {quoted(name)} FROM facts LIMIT 1").fetchall()
        value = rows[0][0] if rows else None
        found.append(f"{name} = {'null' if value is None else format(value, '.6g')}")
    return "; ".join([*rule.expression.thresholds, *found]) or None


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
