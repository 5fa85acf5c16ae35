"""The order in which rules are judged, so that a row which one of them drops counts no longer for the next.

First the rules that look at a row alone. Among the rows that these leave, contradictions are found; then the rules
that ask whether a row is ``conflicting`` are judged. Among the rows that are left, the one to keep of each group of
duplicates is chosen; then the rules that ask whether a row is a ``duplicate`` are judged. The reason of a row is
still the first dropping rule of the recipe that fires.

A row that a reviewer drops or keeps counts as dropped or kept, whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from curate.duplicates.kept import choose_kept, find_conflicts, load_comparable
from curate.recipe import DuplicateSettings
from curate.workspace import Workspace
from winnow.tables import read_batches

if TYPE_CHECKING:
    from curate.rules.decide import CheckedRule

_CONFLICTING, _DUPLICATE = {"conflicting"}, {"duplicate", "duplicate_distance"}
JUDGED_LATE = _CONFLICTING | _DUPLICATE  # columns that depend on what other rules drop
_NOT_FORCED = "position NOT IN (SELECT position FROM forced WHERE forced = 'keep')"


@dataclass(frozen=True)
class Layer:
    """Columns that join the facts when they are known: SQL of the columns (alias l), and the table that has them."""

    columns: str
    table: str


def facts_sql(layers: Sequence[Layer]) -> str:
    """The facts with the columns of some layers, as a subquery."""
    columns = "".join(f", {layer.columns.format(l=f'l{number}')}" for number, layer in enumerate(layers))
    joins = " ".join(
        f"LEFT JOIN {layer.table} l{number} ON l{number}.position = f.position" for number, layer in enumerate(layers)
    )
    return f"(SELECT f.*{columns} FROM facts f {joins})"


def prepare(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Create the tables that ``judge`` needs, before the connection is locked."""
    connection.execute("CREATE TABLE forced AS SELECT position, forced FROM rows WHERE forced IN ('keep', 'drop')")
    load_comparable(connection, workspace)


def judge(
    facts: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    duplicates: DuplicateSettings,
) -> list[Layer]:
    """Judge all rules that drop, in order, and write ``workspace.duplicate_rows``.

    Returns:
        The columns that rules about duplicates and contradictions ask for.
    """
    drops = [rule for rule in rules if rule.action == "drop"]
    last = [rule for rule in drops if _asks(rule, _DUPLICATE)]
    second = [rule for rule in drops if _asks(rule, _CONFLICTING) and rule not in last]
    facts.execute("CREATE TABLE dropped AS SELECT position FROM forced WHERE forced = 'drop'")
    _drop(facts, [rule for rule in drops if rule not in last and rule not in second], [])
    find_conflicts(facts)
    layers = [Layer("{l}.position IS NOT NULL AS conflicting", "conflicts")]
    _drop(facts, second, layers)
    choose_kept(facts, workspace, duplicates)
    facts.execute("CREATE TABLE repeated (position BIGINT, distance DOUBLE)")
    for batch in read_batches(workspace.duplicate_rows, ["position", "duplicate_of", "distance"]):
        facts.register("batch", batch)
        facts.execute("INSERT INTO repeated SELECT position, distance FROM batch WHERE duplicate_of IS NOT NULL")
    facts.unregister("batch")
    repeated = "{l}.position IS NOT NULL AS duplicate, {l}.distance AS duplicate_distance"
    return [*layers, Layer(repeated, "repeated")]


def _asks(rule: CheckedRule, columns: set[str]) -> bool:
    return not columns.isdisjoint(rule.expression.columns)


def _drop(facts: duckdb.DuckDBPyConnection, rules: Sequence[CheckedRule], layers: Sequence[Layer]) -> None:
    """Add the rows on which any of these rules fires to the table ``dropped``."""
    if not rules:
        return
    tests = " OR ".join(f"coalesce({rule.expression.sql}, false)" for rule in rules)
    facts.execute(f"""
        INSERT INTO dropped SELECT DISTINCT position FROM {facts_sql(layers)}
        WHERE ({tests}) AND {_NOT_FORCED} AND position NOT IN (SELECT position FROM dropped)
    """)
