"""Two runs row by row: who was right, overall and per slice, on the rows that both were asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboards.query.differences import mean_difference
from dashboards.query.engine import Connection
from dashboards.query.pairing import NOT_ASKED, Pairing
from dashboards.query.slices import slice_columns
from dashboards.query.tables import Predictions
from evalsuite.statistics import Difference, McNemar, Property, benjamini_hochberg, mcnemar, smallest_detectable

MIN_ROWS = 30
_MOST_VALUES = 12


@dataclass(frozen=True)
class SliceChange:
    """Change of the share of right answers in one slice, with its 95% interval, clustered by image."""

    where: str
    n: int
    base: float
    run: float
    difference: float
    low: float | None
    high: float | None
    q: float


@dataclass(frozen=True)
class Flips:
    """The comparison of two runs on one task.

    Attributes:
        n, images: rows compared, and images among them; only_run, only_base: rows that one run has alone.
        test: the flip matrix and McNemar's exact test (A is the baseline).
        difference, low, high: change of the share of right answers; detectable: the smallest that would be seen.
        slices: change per slice, by q.
    """

    n: int
    images: int
    only_run: int
    only_base: int
    test: McNemar
    difference: float
    low: float | None
    high: float | None
    detectable: float | None
    slices: tuple[SliceChange, ...]


def flips(connection: Connection, run: Predictions, pairing: Pairing, task: str) -> Flips | None:
    """Compare two runs; None where no row of the task is right or wrong in both.

    Raises:
        UserError: the run's table is broken.
    """
    asked = pairing.run.of_task(task)
    both = asked & (pairing.run.correct >= 0) & (pairing.before >= 0)
    if not both.any():
        return None
    now, before = pairing.run.correct[both].astype(np.float64), pairing.before[both].astype(np.float64)
    images = pairing.run.image[both]
    overall = mean_difference(before, now, images)
    return Flips(
        n=len(now),
        images=int(np.count_nonzero(np.bincount(images))),
        only_run=int((asked & (pairing.before == NOT_ASKED)).sum()),
        only_base=pairing.only_base(task),
        test=mcnemar(before > 0, now > 0),
        difference=overall.value,
        low=overall.low,
        high=overall.high,
        detectable=None if overall.se is None else smallest_detectable(overall.se),
        slices=_slices(slice_columns(connection, run, both), before, now, images),
    )


def _slices(
    columns: dict[str, Property], before: NDArray[np.float64], now: NDArray[np.float64], images: NDArray[np.int64]
) -> tuple[SliceChange, ...]:
    found: list[tuple[str, int, float, float, Difference]] = []
    for name, known in columns.items():
        counts = np.bincount(known.codes, minlength=len(known.values))
        for code in np.argsort(-counts, kind="stable")[:_MOST_VALUES]:
            if known.values[code] and MIN_ROWS <= counts[code] < len(before):
                rows = np.flatnonzero(known.codes == code)
                old, new = before[rows], now[rows]
                change = mean_difference(old, new, images[rows])
                found.append((f"{name}={known.values[code]}", len(rows), float(old.mean()), float(new.mean()), change))
    q = benjamini_hochberg([1.0 if one.p is None else one.p for *_, one in found])
    changes = [
        SliceChange(where, n, old, new, one.value, one.low, one.high, float(adjusted))
        for (where, n, old, new, one), adjusted in zip(found, q, strict=True)
    ]
    return tuple(sorted(changes, key=lambda change: (change.difference, change.where)))
