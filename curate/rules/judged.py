"""Which rules fire on the rows of each part: kept between runs, and found again where something about a part is new.

Rules are judged in stages (``curate.rules.order``). A stage leaves a table of the rows on which one of its rules fires,
in parts that stand beside those of the corrected rows. A part depends on the rules, on what the facts of its rows are
made from (``curate.rules.part_facts``), and on what the layers say about these rows: what other rows make of them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.row_keys import write_row_keys
from curate.rules.checked import CheckedRule
from curate.rules.columns import Column, asked_columns, create_asked_facts
from curate.rules.connection import lock, time_limit
from curate.rules.expression import quoted
from curate.rules.part_facts import digest_of_rows, fact_digests
from curate.views import create_views
from curate.workspace import Workspace
from winnow.errors import UserError
from winnow.parquet.table_parts import POSITION, Parts, PartTask
from winnow.parquet.tables import connect, database, literal, write_parquet

_VERSION = 1  # raise it when the same facts make other rules fire
_PARTS_AT_ONCE = 4  # whose fired rules are in memory
# Rules take seconds for a million rows; what takes longer is stopped.
_SECONDS, _ROWS_A_SECOND = 60, 2000
ROW = "row"  # column of a part: the number of the row in its part
Numbered = Sequence[tuple[int, CheckedRule]]  # rules with their numbers in the recipe
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """Columns about a row that depend on other rows.

    Attributes:
        name: of the table in SQL.
        rows: a table with ``position``, ascending: the rows of which there is something to say.
        flags: columns that are true for the rows that are there, else false; values: columns of ``rows``, else null.
    """

    name: str
    rows: pa.Table
    flags: tuple[str, ...]
    values: tuple[str, ...] = ()

    def between(self, start: int, end: int) -> pa.Table:
        """Its rows at some positions."""
        return between(self.rows, start, end)

    def digest(self, start: int, end: int) -> str:
        """Of what it says about the rows at some positions, wherever these are in the set."""
        return digest_of_rows(moved(self.between(start, end), -start))


class Judging:
    """What rules are judged with, for a ``with`` statement.

    Attributes:
        connection: with the views of ``curate.views``, for our own queries.
        columns: those that the rules ask for, without those of layers, by name.
    """

    def __init__(self, workspace: Workspace, names: Iterable[str], losses: Sequence[Path]) -> None:
        """``names`` are of ``curate.rules.columns.asked_columns``; ``losses`` the recipe's.

        Raises:
            UserError: as of ``asked_columns``.
        """
        self.workspace, self._losses = workspace, losses
        self._seconds = _SECONDS + workspace.corrected.row_count() / _ROWS_A_SECOND
        self._facts: tuple[set[int], duckdb.DuckDBPyConnection] | None = None
        with contextlib.ExitStack() as stack:
            self.connection = stack.enter_context(database(workspace.work))
            create_views(self.connection, workspace, losses)
            self.columns: Mapping[str, Column] = asked_columns(self.connection, names)
            write_row_keys(self.connection, workspace)
            tables = {column.table for column in self.columns.values()}
            self._made_from = fact_digests(self.connection, workspace, tables, losses)
            self._stack = stack.pop_all()

    def __enter__(self) -> Judging:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)

    def fired(self, stage: str, rules: Numbered, layers: Sequence[Layer] = ()) -> Parts:
        """Bring the table of a stage up to date: of each row on which one of its rules fires ``row``, f<k> (whether
        rule k fires), v<k> (its values, of the first such image) and of rules with a cap r<k> (who fills the group).

        Raises:
            UserError: a rule cannot be evaluated, or takes too long.
        """
        corrected, parts = self.workspace.corrected, Parts(self.workspace.judged / stage)
        asked = {name: self.columns[name] for _, rule in rules for name in rule.columns if name in self.columns}
        tables = sorted({column.table for column in asked.values()} | {"rows"})
        said: list[Any] = [_VERSION, duckdb.__version__, [[k, rule.expression.sql, rule.shown] for k, rule in rules]]
        said += [[[name, column.sql, column.type] for name, column in asked.items()]]
        said += [[[layer.name, layer.flags, layer.values] for layer in layers]]
        tasks = [
            PartTask(
                ["fired", said, facts, [layer.digest(start, start + count) for layer in layers]], (number, start, count)
            )
            for number, (start, count, *facts) in enumerate(
                zip(corrected.starts(), corrected.counts(), *(self._made_from[name] for name in tables), strict=True)
            )
        ]
        by_name = {task.name: task for task in tasks}
        missing = [by_name[name] for name in parts.missing(by_name)]
        if missing:
            with self.facts({task.args[0] for task in missing}) as connection:
                _write_fired(connection, parts, missing, rules, layers)
        parts.finish([task.name for task in tasks])
        return parts

    @contextlib.contextmanager
    def facts(self, parts: Collection[int] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A locked connection with the table ``facts`` of some parts at least, or of all, for rules.

        Raises:
            UserError: a query in the block fails, or takes too long.
        """
        wanted = {*(range(len(self.workspace.corrected.names())) if parts is None else parts)}
        if self._facts is None or not wanted <= self._facts[0]:
            connection = self._stack.enter_context(connect(self.workspace.work))
            create_views(connection, self.workspace, self._losses, sorted(wanted))
            create_asked_facts(connection, self.columns)
            lock(connection)
            self._facts = wanted, connection
        _, connection = self._facts
        try:
            with time_limit(connection, self._seconds):
                yield connection
        except duckdb.Error as error:
            raise UserError(f"the rules cannot be evaluated: {str(error).splitlines()[0]}") from error


def _write_fired(
    connection: duckdb.DuckDBPyConnection,
    parts: Parts,
    missing: Sequence[PartTask],
    rules: Numbered,
    layers: Sequence[Layer],
) -> None:
    most = connection.execute("SELECT coalesce(max(image_no), 0) FROM facts").fetchall()[0][0]
    query = _fired_sql(rules, _layered_sql(layers), several=most > 1)
    for start in range(0, len(missing), _PARTS_AT_ONCE):
        some = missing[start : start + _PARTS_AT_ONCE]
        places = [task.args[1:] for task in some]
        bounds = {"start": min(first for first, _ in places), "end": max(first + count for first, count in places)}
        for layer in layers:
            connection.register(layer.name, layer.between(*bounds.values()))
        found = connection.sql(f"{query} ORDER BY position", params=bounds).to_arrow_table()
        for task in some:
            _, first, count = task.args
            rows = between(found, first, first + count)
            row = pc.subtract(rows[POSITION], pa.scalar(first, pa.int64()))
            rows = rows.set_column(0, pa.field(ROW, pa.int64()), row)
            write_parquet(parts.folder / task.name, [rows], rows.schema)


def between(rows: pa.Table, start: int, end: int) -> pa.Table:
    """Those rows of a table, in the order of their positions, that are at some positions."""
    first, last = np.searchsorted(rows[POSITION].to_numpy(), (start, end)).tolist()
    return rows.slice(first, last - first)


def moved(rows: pa.Table, by: int) -> pa.Table:
    """Rows whose positions are so much higher."""
    positions = pc.add(rows[POSITION], pa.scalar(by, pa.int64()))
    return rows.set_column(rows.schema.get_field_index(POSITION), POSITION, positions)


def _layered_sql(layers: Sequence[Layer]) -> str:
    """The facts with the columns of the layers, as a subquery."""
    columns = [
        f", l{number}.position IS NOT NULL AS {quoted(name)}"
        for number, layer in enumerate(layers)
        for name in layer.flags
    ]
    columns += [f", l{number}.{quoted(name)}" for number, layer in enumerate(layers) for name in layer.values]
    joins = " ".join(
        f"LEFT JOIN {layer.name} l{number} ON l{number}.position = f.position" for number, layer in enumerate(layers)
    )
    some = "(SELECT * FROM facts WHERE position >= $start AND position < $end)"
    return f"(SELECT f.*{''.join(columns)} FROM {some} f {joins})"


def _finite(column: str) -> str:
    """The column, null where it is no number that JSON has."""
    is_float = f"typeof({column}) IN ('DOUBLE', 'FLOAT')"
    return f"CASE WHEN {is_float} AND NOT isfinite(TRY_CAST({column} AS DOUBLE)) THEN NULL ELSE {column} END"


def _fired_sql(rules: Numbered, facts: str, *, several: bool) -> str:
    """For each sample with any fired rule, f<k> (fired), v<k> (values, of the first such image) and r<k>."""
    tests = [f"coalesce({rule.expression.sql}, false)" for _, rule in rules]
    values = [
        "to_json({" + ", ".join(f"{literal(name)}: {_finite(quoted(name))}" for name in rule.shown) + "})"
        if rule.shown
        else "'{}'"
        for _, rule in rules
    ]  # fmt: skip
    inner = ", ".join(
        f"{test} AS f{k}, CASE WHEN {test} THEN {value}::VARCHAR END AS v{k}"
        for (k, _), test, value in zip(rules, tests, values, strict=True)
    )
    capped = [(k, rule.cap) for k, rule in rules if rule.cap]
    inner += "".join(f", {quoted(cap.filled)}[1] AS r{k}" for k, cap in capped)
    any_fires = f"FROM {facts} WHERE ({' OR '.join(tests)})"
    if not several:  # a row of facts is a sample: nothing to group
        return f"SELECT position, {inner} {any_fires}"
    outer = ", ".join(f"bool_or(f{k}) AS f{k}, arg_min(v{k}, image_no) AS v{k}" for k, _ in rules)
    outer += "".join(f", any_value(r{k}) AS r{k}" for k, _ in capped)
    return f"SELECT position, {outer} FROM (SELECT position, image_no, {inner} {any_fires}) GROUP BY position"


def fired_positions(fired: Parts, starts: Sequence[int], numbers: Sequence[int]) -> Positions:
    """The rows on which one of the rules with these numbers fires, ascending.

    Args:
        fired: of ``Judging.fired``.
        starts: position of the first row of each part.
    """
    found = [np.empty(0, np.int64)]
    columns = [f"f{k}" for k in numbers]
    for path, start in zip(fired.files() if columns else [], starts, strict=False):
        rows = pq.ParquetFile(path).read([ROW, *columns])
        any_fires = functools.reduce(pc.or_kleene, (rows[name] for name in columns))
        found.append(start + rows[ROW].filter(any_fires).to_numpy())
    return np.concatenate(found)
