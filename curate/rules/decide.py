"""Rules over stored signals → one decision per row: keep, flag or drop, the reason, and every rule that fired.

Decodes nothing. Conditions are checked by ``curate.rules.expression`` and run in a DuckDB connection that reaches no
file, network or setting: the facts are loaded first, then it is locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from curate.recipe import Rule
from curate.rules.checked import CheckedRule
from curate.rules.columns import column_types, known_columns
from curate.rules.decisions import write_decisions
from curate.rules.expression import Expression, check_types, parse_expression
from curate.rules.judged import Judging
from curate.rules.keep import parse_keep
from curate.rules.meta import check_any_number, is_meta, read_types
from curate.rules.order import JUDGED_LATE, judge
from curate.rules.setwide import asked_column
from curate.settings.copies import DuplicateSettings
from curate.workspace import Workspace
from winnow.parquet.table_parts import Parts


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


def decide(
    workspace: Workspace,
    rules: Sequence[CheckedRule],
    losses: Sequence[Path] = (),
    duplicates: DuplicateSettings | None = None,
) -> None:
    """Write ``decisions.parquet``: every row with its decision and every rule that fired, in input order.

    Rules are judged on the parts of the rows of which something is new, and row groups of which nothing has changed
    since an earlier run are copied from its file.

    A rule fires on a sample if it fires on any of its images; a condition that is null (a signal is
    missing) does not fire. The first dropping rule in order is the reason. A reviewer's keep or drop
    overrides the rules, which stay on record.

    Args:
        duplicates: how rows are compared; writes ``workspace.duplicate_rows`` too. None: no row is a duplicate.

    Raises:
        UserError: a rule cannot be evaluated or takes too long, or a file cannot be written.
    """
    names = dict.fromkeys(name for rule in rules for name in (*rule.columns, *(["sample_id"] if rule.cap else [])))
    known = [name for name in names if not (duplicates and name in JUDGED_LATE)]
    with Judging(workspace, known, losses) as judging:
        stages = judge(judging, rules, duplicates)
        thresholds = [_threshold(judging, rule) for rule in rules]
        write_decisions(judging.connection, workspace, rules, stages, thresholds)


def _threshold(judging: Judging, rule: CheckedRule) -> str | None:
    """The rule's comparisons, with the numbers that were computed for the whole set."""
    found = []
    for name in rule.expression.constants:
        value = judging.connection.execute(f"SELECT {judging.columns[name].sql}").fetchall()[0][0]
        found.append(f"{name} = {'null' if value is None else format(value, '.6g')}")
    return "; ".join([*rule.expression.thresholds, *found]) or None
