"""Moving a rule's threshold over stored signals: what it would drop, alone or with others. Decodes nothing.

What the other rules do is taken from the set's decisions; duplicates and contamination are not
sought again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.rules.expression import parse_expression
from curate.workspace import Workspace
from dashboards.query.catalog import Folder
from dashboards.query.codes import coded, read_columns
from dashboards.query.fired import Fired
from dashboards.query.signals import Facts, Mask, Rules, column_of, fires
from dashboards.query.thresholds import Threshold
from evalsuite.statistics import Property

_BINS = 60


@dataclass(frozen=True)
class Preview:
    """What a rule does with another number, in rows.

    Attributes:
        fires: rows on which it fires, before and with the new number.
        alone: of the new ones, those that no other dropping rule takes.
        kept: rows left in the set, all rules together, before and after.
        by_source: source, its rows, rows on which the rule fired before and fires now.
    """

    rows: int
    fires: tuple[int, int]
    alone: int
    kept: tuple[int, int]
    by_source: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Histogram:
    """Edges (bins + 1,) and counts (bins,) of what a threshold compares, and how many images lack it."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    missing: int


@dataclass(frozen=True)
class Rest:
    """What stays as it is when one rule moves.

    Attributes:
        must_keep, must_drop: (rows,) where a reviewer decided.
        others: (rows,) where another dropping rule fires.
        source: (rows,) name of the source.
    """

    must_keep: Mask
    must_drop: Mask
    others: Mask
    source: Property

    def kept(self, dropped: Mask) -> int:
        """Rows left when the moved rule drops ``dropped``."""
        return int((~(dropped | self.others | self.must_drop) | self.must_keep).sum())


def read_rest(folder: Folder, rules: Rules, fired: Fired, moved: str) -> Rest:
    """What the rules other than ``moved`` and the reviewers say; raises UserError for a broken table."""
    rows = read_columns(Workspace(folder.path).corrected, ["source", "forced"])
    others = np.zeros(len(fired.position), dtype=bool)
    for rule in rules.checked:
        if rule.action == "drop" and rule.name != moved:
            others |= fired.mask(rule.name)
    decided = coded(rows["forced"])
    keep, drop = (decided.codes == _place(decided, word) for word in ("keep", "drop"))
    return Rest(keep, drop, others, coded(rows["source"]))


def _place(known: Property, value: str) -> int:
    return known.values.index(value) if value in known.values else -1


def preview(rules: Rules, facts: Facts, fired: Fired, rest: Rest, threshold: Threshold, number: float) -> Preview:
    """Counts with ``number`` in place of the recipe's; raises UserError if that is no condition."""
    moved = parse_expression(threshold.moved(number), rules.types, f"rule {threshold.rule!r}")
    before, now = fired.mask(threshold.rule), fires(facts, moved.sql, fired.position)
    drops = threshold.action == "drop"
    names = np.argsort(np.array(rest.source.values))
    counts = [
        np.bincount(rest.source.codes, weights, minlength=len(names)).astype(int) for weights in (None, before, now)
    ]
    return Preview(
        rows=len(now),
        fires=(int(before.sum()), int(now.sum())),
        alone=int((now & ~rest.others).sum()),
        kept=(rest.kept(before & drops), rest.kept(now & drops)),
        by_source=tuple((rest.source.values[at], *(int(count[at]) for count in counts)) for at in names),
    )


def values(facts: Facts, threshold: Threshold) -> NDArray[np.float64]:
    """(facts,) what the threshold compares, NaN where it is not known."""
    sql = f"SELECT ({threshold.left})::DOUBLE AS value FROM facts ORDER BY position, image_no"
    return np.ma.filled(np.ma.asarray(column_of(facts.connection, sql), dtype=np.float64), np.nan)


def histogram(found: NDArray[np.float64]) -> Histogram:
    """Sixty bins over the known values."""
    known = found[np.isfinite(found)]
    counts, edges = np.histogram(known, bins=_BINS) if len(known) else (np.zeros(1, int), np.array([0.0, 1.0]))
    return Histogram(edges, counts, len(found) - len(known))


def distinct(found: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different known values, ascending, and where each occurs first.

    One image has many questions: different values show more than the same image again.
    """
    known = np.flatnonzero(~np.isnan(found))
    different, first = np.unique(found[known], return_index=True)
    return different, known[first]


def nearest_rows(
    facts: Facts, sorted_values: tuple[NDArray[np.float64], NDArray[np.int64]], number: float, count: int
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(position, value) of the samples nearest below, and nearest at or above, ``number``; nearest first.

    Args:
        sorted_values: see ``distinct``.
    """
    different, first = sorted_values
    line = int(np.searchsorted(different, number))
    sides = range(line - 1, max(line - count, 0) - 1, -1), range(line, min(line + count, len(different)))
    below, above = ([(int(facts.position[first[at]]), float(different[at])) for at in side] for side in sides)
    return below, above
