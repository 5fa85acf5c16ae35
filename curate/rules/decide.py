"""Rules over stored signals → one decision per row. Decodes nothing.

Conditions are checked by ``curate.rules.expression`` and run in a DuckDB connection that can reach no
file, network or setting any more: the facts are loaded first, then it is locked.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb

from curate.recipe import Rule
from curate.rules.columns import column_types, create_facts, create_views, literal
from curate.rules.expression import parse_expression
from curate.rules.fates import DECISIONS, CheckedRule, decided
from curate.workspace import Workspace, row_count, write_parquet
from winnow.errors import UserError
from winnow.tables import connect, database

# Rules take seconds for a million rows; what takes longer than this is no rule.
_SECONDS, _ROWS_A_SECOND = 60, 2000


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
    space: Workspace, rules: Sequence[CheckedRule], losses: Sequence[Path] = ()
) -> duckdb.DuckDBPyConnection:
    """A locked connection with the table ``facts``: what the rules ask."""
    connection = connect(space.work)
    create_views(connection, space, losses)
    create_facts(connection, dict.fromkeys(name for rule in rules for name in rule.expression.columns))
    lock(connection)
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on the connection reaches no file, network, extension or setting."""
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
    count = row_count(space.samples)
    with database(space.work) as rows, open_facts(space, rules, losses) as connection:
        create_views(rows, space)
        try:
            with time_limit(connection, _SECONDS + count / _ROWS_A_SECOND):
                fired = _fired_sql(rules, several=_several_images(connection))
                write_parquet(space.decisions, decided(rows, connection, fired, rules, count), DECISIONS)
        except duckdb.Error as error:
            raise UserError(f"the rules cannot be evaluated: {str(error).splitlines()[0]}") from error


def _several_images(connection: duckdb.DuckDBPyConnection) -> bool:
    return bool(connection.execute("SELECT coalesce(max(image_no), 0) > 1 FROM facts").fetchall()[0][0])


def _fired_sql(rules: Sequence[CheckedRule], *, several: bool) -> str:
    """For each sample with any fired rule, f<k> (fired) and v<k> (values, of the first such image).

    Of the positions from parameter ``$start`` to ``$end`` - 1.
    """
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
    any_fires = f"FROM facts WHERE position >= $start AND position < $end AND ({' OR '.join(tests)})"
    if not several:  # a row of facts is a sample: nothing to gather
        return f"SELECT position, {inner} {any_fires}"
    outer = ", ".join(f"bool_or(f{k}) AS f{k}, arg_min(v{k}, image_no) AS v{k}" for k in range(len(rules)))
    return f"""
        SELECT position, {outer}
        FROM (SELECT position, image_no, {inner} {any_fires}) GROUP BY position
    """
