"""Histograms of signals, counted by DuckDB: memory does not grow with the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curate.rules.checked import CheckedRule
from curate.rules.columns import create_facts, known_columns
from curate.views import create_views
from curate.workspace import Workspace, of_this_version
from winnow.parquet.tables import database, parquet

_BINS = 60
_NUMBERS = {"INTEGER", "BIGINT", "DOUBLE", "UBIGINT"}
_SHOWN_TABLES = {"image", "score", "text", "itm", "duplicate", "loss", "rows"}
# Numbers that are names, or positions of bits.
_NOT_SHOWN = {"phash", "dhash", "exif_orientation"}
_TAIL = 0.002  # share of rows beyond each end that one far value must not stretch the axis for


@dataclass(frozen=True)
class HistogramBar:
    """One bin: ``start`` to ``end`` of the signal, and how many rows of each decision lie in it."""

    start: float
    end: float
    decision: str
    rows: int


@dataclass(frozen=True)
class Cut:
    """A threshold of a rule on a signal."""

    rule: str
    action: str
    value: float
    condition: str


@dataclass(frozen=True)
class Histogram:
    """One signal.

    Attributes:
        column: its name; ``about``: meaning and unit.
        bars: non-empty bins.
        cuts: thresholds that rules compare it with.
        missing: rows without a value; ``beyond``: rows outside of the axis.
    """

    column: str
    about: str
    bars: list[HistogramBar]
    cuts: list[Cut]
    missing: int
    beyond: int

    def is_near(self, value: float) -> bool:
        """Whether a threshold is no further from the bars than three times their width."""
        low, high = min(bar.start for bar in self.bars), max(bar.end for bar in self.bars)
        return low - 3 * (high - low) <= value <= high + 3 * (high - low)


def histograms(
    workspace: Workspace, rules: Sequence[CheckedRule], losses: Sequence[Path], scores: tuple[str, ...] = ()
) -> list[Histogram]:
    """Every numeric signal that has at least two values, those that rules ask about first.

    A row with several images counts once for each.
    """
    cuts = _cuts(rules)
    known = known_columns(scores)
    names = [
        name
        for name, column in known.items()
        if column.table in _SHOWN_TABLES and column.type in _NUMBERS and name not in _NOT_SHOWN
    ]
    names.sort(key=lambda name: name not in cuts)
    with of_this_version(workspace), database(workspace.work) as connection:
        create_views(connection, workspace, losses)
        create_facts(connection, names)
        connection.execute(f"CREATE VIEW decided AS SELECT position, decision FROM {parquet([workspace.decisions])}")
        found = [_histogram(connection, name, known[name].meaning, cuts.get(name, [])) for name in names]
    return [histogram for histogram in found if histogram is not None]


def _cuts(rules: Sequence[CheckedRule]) -> dict[str, list[Cut]]:
    found: dict[str, list[Cut]] = {}
    for rule in rules:
        for column, value in dict.fromkeys(rule.expression.cuts):
            found.setdefault(column, []).append(Cut(rule.name, rule.action, value, rule.expression.text))
    return found


def _histogram(connection: duckdb.DuckDBPyConnection, name: str, about: str, cuts: list[Cut]) -> Histogram | None:
    low, high, least, most, missing, whole = connection.execute(f"""
        SELECT quantile_cont(v, {_TAIL}), quantile_cont(v, {1 - _TAIL}), min(v), max(v),
               count(*) FILTER (WHERE v IS NULL), coalesce(bool_and(v = floor(v)), false)
        FROM (SELECT CASE WHEN isfinite("{name}"::DOUBLE) THEN "{name}"::DOUBLE END AS v FROM facts)
    """).fetchall()[0]
    if least is None or least == most:
        return None
    # A tail that is no longer than the rest is shown whole; thresholds near the data are always in view.
    low, high = (least if low - least <= high - low else low), (most if most - high <= high - low else high)
    span = (high - low) or (most - least)
    near = [cut.value for cut in cuts if low - span <= cut.value <= high + span]
    low, high = min([low, *near]), max([high, *near])
    if high == low:
        low, high = least, most
    width = (high - low) / _BINS
    if whole:  # whole numbers get whole bins
        width = max(1.0, float(math.ceil(width)))
        low -= 0.5
    rows = connection.execute(
        f"""
        SELECT least(floor(("{name}"::DOUBLE - ?) / ?)::BIGINT, ?) AS bin, decision, count(*)
        FROM facts JOIN decided USING (position)
        WHERE "{name}"::DOUBLE BETWEEN ? AND ? GROUP BY 1, 2 ORDER BY 1, 2
        """,
        [low, width, math.ceil((high - low) / width) - 1, low, high],
    ).fetchall()
    inside = sum(count for _, _, count in rows)
    total = connection.execute("SELECT count(*) FROM facts").fetchall()[0][0]
    bars = [
        HistogramBar(low + number * width, low + (number + 1) * width, decision, count)
        for number, decision, count in rows
    ]
    return Histogram(name, about, bars, cuts, missing, total - missing - inside)
