"""Two curations of the same data compared: which rows have another decision, and through which rule."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate.recipe import all_rules, read_finished
from curate.workspace import Workspace
from winnow.files import strict_json
from winnow.parquet.tables import database, parquet

# A row's decision with what caused it: the reason of a drop, the first flagging rule of a flag.
_DECIDED = """
    SELECT position, sample_id, decision,
           coalesce(reason, CASE
               WHEN decision = 'flag' THEN list_filter(rules, lambda fired: fired.action = 'flag')[1].rule
               WHEN len(list_filter(rules, lambda fired: fired.rule = 'correction')) > 0 THEN 'correction'
           END) AS rule, rules
    FROM {table}
"""
_CHANGED = """
    CREATE TABLE changed AS
    SELECT coalesce(a.sample_id, b.sample_id) AS sample_id, coalesce(a.decision, 'absent') AS was, a.rule AS was_by,
           coalesce(b.decision, 'absent') AS now, b.rule AS now_by, coalesce(b.position, a.position) AS position,
           list_filter(a.rules, lambda fired: fired.rule = a.rule)[1] AS was_fired,
           list_filter(b.rules, lambda fired: fired.rule = b.rule)[1] AS now_fired
    FROM ({a}) a FULL OUTER JOIN ({b}) b ON b.sample_id = a.sample_id
    WHERE a.decision IS DISTINCT FROM b.decision OR a.rule IS DISTINCT FROM b.rule
"""


@dataclass(frozen=True)
class Example:
    """A row that changed, with the values and threshold of the rule that decides now, or else of the one before."""

    sample_id: str
    values: dict[str, Any]
    threshold: str | None


@dataclass(frozen=True)
class Transition:
    """Rows that went the same way.

    Attributes:
        was, now: keep, flag, drop, or absent (a row that only the other curation has).
        was_by, now_by: the rule that caused it, null for a row that was simply kept.
        rows: how many.
        examples: some of them, in input order.
    """

    was: str
    was_by: str | None
    now: str
    now_by: str | None
    rows: int
    examples: list[Example]


@dataclass(frozen=True)
class RuleChange:
    """A rule that is not the same in both recipes; null where it is missing."""

    rule: str
    was: str | None
    now: str | None


@dataclass(frozen=True)
class CurationDiff:
    """``curate diff``.

    Attributes:
        a, b: the folders.
        same: rows of the same decision through the same rule.
        changed: rows of both with another decision or rule.
        new, gone: rows that only ``b``, only ``a`` has.
        rules: rules whose condition or action differ.
        transitions: largest first.
    """

    a: str
    b: str
    same: int
    changed: int
    new: int
    gone: int
    rules: list[RuleChange]
    transitions: list[Transition]


def diff(a: Path, b: Path, limit: int = 3) -> CurationDiff:
    """Compare two finished curations row by row (by ``sample_id``).

    Args:
        limit: examples of each transition.

    Raises:
        UserError: a folder is not a finished curation.
    """
    workspaces = [Workspace(folder) for folder in (a, b)]
    rules = [_rules(folder) for folder in (a, b)]
    with database(workspaces[1].work) as connection:
        tables = [parquet([workspace.decisions]) for workspace in workspaces]
        decided = [_DECIDED.format(table=table) for table in tables]
        connection.execute(_CHANGED.format(a=decided[0], b=decided[1]))
        counts = connection.execute("""
            SELECT was, was_by, now, now_by, count(*) FROM changed GROUP BY ALL
            ORDER BY 5 DESC, was, was_by NULLS FIRST, now, now_by NULLS FIRST
        """).fetchall()
        transitions = [
            Transition(was, was_by, now, now_by, rows, _examples(connection, (was, was_by, now, now_by), limit))
            for was, was_by, now, now_by, rows in counts
        ]
        totals = [connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in tables]
    new = sum(transition.rows for transition in transitions if transition.was == "absent")
    gone = sum(transition.rows for transition in transitions if transition.now == "absent")
    changed = sum(transition.rows for transition in transitions) - new - gone
    return CurationDiff(str(a), str(b), totals[0] - gone - changed, changed, new, gone, _changes(*rules), transitions)


def _rules(folder: Path) -> dict[str, str]:
    recipe, _ = read_finished(folder)
    return {name: f"{rule.action} {rule.condition}" for name, rule in all_rules(recipe).items()}


def _changes(was: dict[str, str], now: dict[str, str]) -> list[RuleChange]:
    names = dict.fromkeys([*was, *now])
    return [RuleChange(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)]


def _examples(connection: duckdb.DuckDBPyConnection, way: tuple[Any, ...], limit: int) -> list[Example]:
    rows = connection.execute(
        """
        SELECT sample_id, coalesce(now_fired, was_fired) AS fired FROM changed
        WHERE was = ? AND was_by IS NOT DISTINCT FROM ? AND now = ? AND now_by IS NOT DISTINCT FROM ?
        ORDER BY position LIMIT ?
        """,
        [*way, limit],
    ).fetchall()
    return [
        Example(sample_id, json.loads(fired["values"] or "{}"), fired["threshold"])
        if fired
        else Example(sample_id, {}, None)
        for sample_id, fired in rows
    ]


def as_json(found: CurationDiff) -> str:
    """The comparison as indented JSON."""
    return strict_json(asdict(found), indent=2)
