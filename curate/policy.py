"""Rules over stored signals → one decision per row. Decodes nothing.

Conditions are checked by ``curate.expression`` and run in a DuckDB connection that can reach no
file, network or setting any more: the facts are loaded first, then it is locked.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from curate.errors import UserError
from curate.expression import Expression, parse_expression
from curate.facts import column_types, create_facts, create_views, literal
from curate.recipe import Rule
from curate.workspace import Workspace, row_count, write_parquet

_FIRED = pa.struct(
    [(name, pa.string()) for name in ("rule", "action", "expression", "values", "threshold", "kept_twin")]
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
        ("duplicate_distance", pa.float64()),
        ("hamming", pa.int32()),
    ]
)
_ROWS_A_BLOCK = 1 << 17  # rows whose decisions are in memory at once
# Rules take seconds for a million rows; what takes longer than this is no rule.
_SECONDS, _ROWS_A_SECOND = 60, 2000
# The row that a rule points at, by the column that it asks about.
_TWINS = {"duplicate": "duplicate_of", "conflicting": "conflict_with", "contaminated": "evaluation"}


@dataclass(frozen=True)
class CheckedRule:
    """A rule whose condition is known to be safe.

    Attributes:
        name: as in the recipe.
        action: drop or flag.
        expression: its condition.
    """

    name: str
    action: str
    expression: Expression

    @property
    def twin(self) -> str:
        """SQL of the sample it points at, or NULL."""
        named = [column for column in self.expression.columns if column in _TWINS]
        return f"b.{_TWINS[named[0]]}" if named else "NULL"

    @property
    def threshold(self) -> str:
        """SQL of its comparisons as one text, or NULL."""
        return literal("; ".join(self.expression.thresholds)) if self.expression.thresholds else "NULL"


def check_rules(rules: Mapping[str, Rule], scores: tuple[str, ...] = ()) -> list[CheckedRule]:
    """Check every condition; UserError names the rule and what is wrong with it.

    Args:
        scores: columns that the recipe's prompt sets and heads add.
    """
    types = column_types(scores)
    return [
        CheckedRule(name, rule.action, parse_expression(rule.when, types, f"rule {name!r}"))
        for name, rule in rules.items()
    ]


def open_facts(
    space: Workspace, rules: Sequence[CheckedRule], losses: Sequence[Path] = (), where: str = "true"
) -> duckdb.DuckDBPyConnection:
    """A locked connection with the tables ``facts`` (what the rules ask) and ``base`` (what a decision reports)."""
    connection = duckdb.connect(":memory:", config={"temp_directory": str(space.work / "spilled")})
    create_views(connection, space, losses)
    create_facts(connection, dict.fromkeys(name for rule in rules for name in rule.expression.columns), where)
    connection.execute(f"""
        CREATE TABLE base AS
        SELECT r.position, r.sample_id, r.forced, r.forced_by, d.duplicate_group, d.duplicate_of, d.conflict_with,
               d.distance, d.hamming, c.evaluation
        FROM rows r
        LEFT JOIN duplicates d ON d.position = r.position
        LEFT JOIN contaminations c ON c.sample_id = r.sample_id
        WHERE {where}
    """)
    lock(connection)
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on the connection reaches no file, network, extension or setting, and half of the memory."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    connection.execute(f"SET memory_limit = '{half} bytes'")
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


@contextlib.contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Stop whatever the connection does when the time is over.

    Raises:
        UserError: it was.
    """
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise UserError(f"the rules took longer than {seconds:,.0f} s; simplify their conditions") from error
    finally:
        timer.cancel()


def decide(space: Workspace, rules: Sequence[CheckedRule], losses: Sequence[Path] = ()) -> None:
    """Write ``decisions.parquet``: every row with its fate and every rule that fired, in input order.

    A rule fires on a sample if it fires on any of its images; a condition that is null (a signal is
    missing) does not fire. The first dropping rule in order is the reason. A reviewer's keep or drop
    overrides the rules, which stay on record.
    """
    with open_facts(space, rules, losses) as connection:
        try:
            with time_limit(connection, _SECONDS + row_count(space.samples) / _ROWS_A_SECOND):
                connection.execute(_fired_sql(rules))
        except duckdb.Error as error:
            raise UserError(f"the rules cannot be evaluated: {str(error).splitlines()[0]}") from error
        write_parquet(space.decisions, _decided(connection, rules), DECISIONS)


def _decided(connection: duckdb.DuckDBPyConnection, rules: Sequence[CheckedRule]) -> Iterator[pa.Table]:
    """Decisions in input order, block by block; the next block is made while this one is being written."""
    count = connection.execute("SELECT count(*) FROM base").fetchall()[0][0]

    def block(start: int) -> pa.Table:
        return connection.sql(_decisions_sql(rules, start, start + _ROWS_A_BLOCK)).to_arrow_table()

    with ThreadPoolExecutor(1) as ahead:
        ready: Future[pa.Table] | None = None
        for start in range(0, count, _ROWS_A_BLOCK):
            following = ahead.submit(block, start)
            if ready is not None:
                yield ready.result()
            ready = following
        if ready is not None:
            yield ready.result()


def _fired_sql(rules: Sequence[CheckedRule]) -> str:
    """Table ``fired``: for each sample with any fired rule, f<k> (fired) and v<k> (values, of the first such image)."""
    tests = [f"coalesce({rule.expression.sql}, false)" for rule in rules]
    values = [
        "to_json({" + ", ".join(f"{literal(name)}: \"{name}\"" for name in rule.expression.columns) + "})"
        if rule.expression.columns
        else "'{}'"
        for rule in rules
    ]  # fmt: skip
    inner = ", ".join(
        f"{test} AS f{k}, CASE WHEN {test} THEN {value}::VARCHAR END AS v{k}"
        for k, (test, value) in enumerate(zip(tests, values, strict=True))
    )
    outer = ", ".join(f"bool_or(f{k}) AS f{k}, arg_min(v{k}, image_no) AS v{k}" for k in range(len(rules)))
    return f"""
        CREATE TABLE fired AS SELECT position, {outer}
        FROM (SELECT position, image_no, {inner} FROM facts WHERE {" OR ".join(tests)}) GROUP BY position
    """


def _decisions_sql(rules: Sequence[CheckedRule], start: int, end: int) -> str:
    """Decisions on the rows ``start`` to ``end`` - 1."""
    drops = [(k, rule) for k, rule in enumerate(rules) if rule.action == "drop"]
    reason = "".join(f"WHEN f{k} THEN {literal(rule.name)} " for k, rule in drops)
    records = [
        f"""CASE WHEN f{k} THEN {{'rule': {literal(rule.name)}, 'action': {literal(rule.action)},
        'expression': {literal(rule.expression.text)}, 'values': v{k}, 'threshold': {rule.threshold},
        'kept_twin': {rule.twin}}} END"""
        for k, rule in enumerate(rules)
    ]
    records.append("""CASE WHEN forced IS NOT NULL THEN {'rule': 'correction', 'action': forced,
        'expression': 'a reviewer decided', 'values': forced_by, 'threshold': NULL, 'kept_twin': NULL} END""")
    return f"""
        SELECT position, sample_id,
            CASE WHEN forced IN ('keep', 'drop') THEN forced WHEN reason IS NOT NULL THEN 'drop'
                 WHEN flagged OR forced = 'flag' THEN 'flag' ELSE 'keep' END AS decision,
            CASE forced WHEN 'keep' THEN NULL WHEN 'drop' THEN 'correction' ELSE reason END AS reason,
            rules, duplicate_group, representative, duplicate_distance, hamming
        FROM (
            SELECT b.position, b.sample_id, b.forced,
                CASE WHEN false THEN NULL::VARCHAR {reason}END AS reason,
                coalesce({" OR ".join(f"f{k}" for k in range(len(rules)))}, false) AS flagged,
                CASE WHEN fired.position IS NOT NULL OR forced IS NOT NULL
                    THEN list_filter([{", ".join(records)}], lambda fired: fired IS NOT NULL) ELSE [] END AS rules,
                b.duplicate_group, b.duplicate_of AS representative, b.distance AS duplicate_distance, b.hamming
            FROM base b LEFT JOIN fired USING (position)
            WHERE b.position >= {start} AND b.position < {end}
        ) ORDER BY position
    """
