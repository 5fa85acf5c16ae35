"""The order in which rules are judged, so that a row which one of them drops counts no longer for the next.

First the rules that look at a row alone. Among the rows that these leave, contradictions are found; then the rules
that ask whether a row is ``conflicting`` are judged. Among the rows that are left, the one to keep of each group of
duplicates is chosen; then the rules that ask whether a row is a ``duplicate`` are judged. Rules that keep so many
rows of a group come last, among themselves in the recipe's order: what they keep stays. The reason of a row is still
the first dropping rule of the recipe that fires.

A row that a reviewer drops or keeps counts as dropped or kept, whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from curate.duplicates.kept import choose_kept, find_conflicts, load_comparable
from curate.rules.checked import CheckedRule
from curate.rules.expression import quoted
from curate.rules.keep import Cap
from curate.settings.copies import DuplicateSettings
from curate.workspace import Workspace
from winnow.tables import read_batches

_CONFLICTING = {"conflicting"}
_DUPLICATE = {"duplicate", "duplicate_distance", "duplicate_kind", "duplicate_strength", "edited_copy"}
JUDGED_LATE = _CONFLICTING | _DUPLICATE  # columns that depend on what other rules drop
_NAMED = 3  # rows that fill a group, as the ledger names them


@dataclass(frozen=True)
class Layer:
    """Columns that join the facts when they are known.

    Attributes:
        table: has them, and ``position``.
        flags: true where the table has the row, else false; values: as they are there, else null.
    """

    table: str
    flags: tuple[str, ...]
    values: tuple[str, ...] = ()


def facts_sql(layers: Sequence[Layer]) -> str:
    """The facts with the columns of some layers, as a subquery."""
    columns = [
        f", l{number}.position IS NOT NULL AS {quoted(name)}"
        for number, layer in enumerate(layers)
        for name in layer.flags
    ]
    columns += [f", l{number}.{quoted(name)}" for number, layer in enumerate(layers) for name in layer.values]
    joins = " ".join(
        f"LEFT JOIN {layer.table} l{number} ON l{number}.position = f.position" for number, layer in enumerate(layers)
    )
    return f"(SELECT f.*{''.join(columns)} FROM facts f {joins})"


def prepare(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    duplicates: DuplicateSettings | None,
) -> None:
    """Create the tables that ``judge`` needs, before the connection is locked."""
    connection.execute("CREATE TABLE forced AS SELECT position, forced FROM rows WHERE forced IN ('keep', 'drop')")
    if any(rule.cap for rule in rules):
        connection.execute("CREATE TABLE ids AS SELECT position, sample_id FROM rows")
    if duplicates:
        load_comparable(connection, workspace)


def judge(
    facts: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    duplicates: DuplicateSettings | None,
) -> list[Layer]:
    """Judge all rules that drop, in order; with ``duplicates``, write ``workspace.duplicate_rows``.

    Returns:
        The columns that rules about other rows ask for.
    """
    drops = [rule for rule in rules if rule.action == "drop" and not rule.cap]
    last = [rule for rule in drops if duplicates and _asks(rule, _DUPLICATE)]
    second = [rule for rule in drops if duplicates and _asks(rule, _CONFLICTING) and rule not in last]
    facts.execute("CREATE TABLE dropped AS SELECT position FROM forced WHERE forced = 'drop'")
    _drop(facts, [rule for rule in drops if rule not in last and rule not in second], [])
    layers: list[Layer] = []
    if duplicates:
        find_conflicts(facts)
        layers.append(Layer("conflicts", ("conflicting",)))
        _drop(facts, second, layers)
        choose_kept(facts, workspace, duplicates)
        _load_repeated(facts, workspace)
        kinds = ("duplicate_kind", "duplicate_strength")
        layers.append(Layer("repeated", ("duplicate",), ("duplicate_distance",)))
        layers.append(Layer("edited_copies", ("edited_copy",)))
        layers.append(Layer("copied", (), kinds))
        _drop(facts, last, layers)
    for number, rule in enumerate(rules):
        if rule.cap:
            facts.execute(_surplus(f"surplus{number}", rule.cap))
            layers.append(Layer(f"surplus{number}", (rule.cap.name,), (rule.cap.filled,)))
            _drop(facts, [rule] if rule.action == "drop" else [], layers)
    return layers


def _load_repeated(facts: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Create the tables ``repeated``, ``edited_copies`` and, of the rows in either, ``copied``."""
    facts.execute("CREATE TABLE repeated (position BIGINT, duplicate_distance DOUBLE)")
    facts.execute("CREATE TABLE edited_copies (position BIGINT)")
    facts.execute("CREATE TABLE copied (position BIGINT, duplicate_kind VARCHAR, duplicate_strength DOUBLE)")
    for batch in read_batches(workspace.duplicate_rows):
        facts.register("batch", batch)
        facts.execute("INSERT INTO repeated SELECT position, distance FROM batch WHERE duplicate_of IS NOT NULL")
        facts.execute("INSERT INTO edited_copies SELECT position FROM batch WHERE edited_copy_of IS NOT NULL")
        facts.execute("INSERT INTO copied SELECT position, kind, strength FROM batch WHERE kind IS NOT NULL")
        facts.unregister("batch")


def _surplus(table: str, cap: Cap) -> str:
    """Statement that creates a table: the rows that are too many of their group, and the first of those that stay.

    Only rows that are not dropped count; a row without a value in one of the columns is of no group. Several images
    of a row are one value. The rows that a reviewer keeps come first. With ``order``, a row takes its worst image.
    """
    columns = [quoted(name) for name in cap.group]
    groups = ", ".join(f"list(DISTINCT {name} ORDER BY {name}) AS g{n}" for n, name in enumerate(columns))
    complete = " AND ".join(f"bool_and({name} IS NOT NULL)" for name in columns)
    keys = ", ".join(f"g{n}" for n in range(len(columns)))
    order = f"{'min' if cap.descending else 'max'}({quoted(cap.order)})" if cap.order else "NULL"
    way = "DESC" if cap.descending else "ASC"
    return f"""
        CREATE TABLE {table} AS
        WITH one AS (
            SELECT position, {groups}, {order} AS best FROM facts
            WHERE position NOT IN (SELECT position FROM dropped) GROUP BY position HAVING {complete}
        ), placed AS (
            SELECT {keys}, o.position, i.sample_id, row_number() OVER (
                PARTITION BY {keys}
                ORDER BY f.position IS NULL, best {way} NULLS LAST, md5(i.sample_id), i.sample_id
            ) AS place
            FROM one o JOIN ids i ON i.position = o.position
            LEFT JOIN (SELECT position FROM forced WHERE forced = 'keep') f ON f.position = o.position
        ), filled AS (
            SELECT {keys}, list(sample_id ORDER BY place) FILTER (place <= {min(cap.most, _NAMED)}) AS names
            FROM placed GROUP BY ALL
        )
        SELECT position, names AS {quoted(cap.filled)} FROM placed JOIN filled USING ({keys}) WHERE place > {cap.most}
    """


def _asks(rule: CheckedRule, columns: set[str]) -> bool:
    return not columns.isdisjoint(rule.expression.columns)


def _drop(facts: duckdb.DuckDBPyConnection, rules: Sequence[CheckedRule], layers: Sequence[Layer]) -> None:
    """Add the rows on which any of these rules fires to the table ``dropped``, but for those that a reviewer keeps."""
    if not rules:
        return
    tests = " OR ".join(f"coalesce({rule.expression.sql}, false)" for rule in rules)
    facts.execute(f"""
        INSERT INTO dropped SELECT DISTINCT position FROM {facts_sql(layers)} WHERE ({tests})
        AND position NOT IN (SELECT position FROM forced WHERE forced = 'keep')
        AND position NOT IN (SELECT position FROM dropped)
    """)
