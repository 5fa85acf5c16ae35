"""Where a run fails more than elsewhere, and two runs row by row: which was right, overall and per slice.

Intervals are clustered by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, coded, fetch, fetch_table, quoted
from dashboards.data.predictions import NO_VERDICT, NOT_ASKED, WRONG, open_predictions, pair, row_index
from evalsuite import statistics
from evalsuite.statistics import (
    LEVEL,
    McNemar,
    PairedDifference,
    Property,
    RankedSlice,
    Ranking,
    benjamini_hochberg,
    mcnemar,
    mean_sums,
    paired_difference,
    smallest_detectable,
)

MIN_ROWS = 30  # of a slice
MIN_IMAGES = 10
_MOST_RANKED_VALUES = 40  # of a column, the most frequent
_MOST_COMPARED_VALUES = 12
# Up to here the evaluation's own resampling takes a tenth of a second; above, the interval that it
# estimates is known in closed form, and the two agree to a few percent of their width.
MOST_RESAMPLED = 1_000  # images


@cached(64)
def rank_slices(run: Folder, task: str) -> Ranking:
    """Slices of one task, most excess errors first; rows without a verdict or with a failed request are left out.

    Raises:
        UserError: the table is broken.
    """
    path, index = open_predictions(run).path, row_index(run)
    failed = fetch_table(run.connection, "SELECT status = 'failed' AS failed FROM read_parquet(?)", [path])
    rows = index.of_task(task) & (index.correct != NO_VERDICT) & ~failed["failed"].to_numpy()
    images = np.unique(index.image[rows], return_inverse=True)[1].astype(np.int64)
    columns = slice_columns(run, rows)
    return statistics.rank_slices(
        (index.correct[rows] == WRONG).astype(np.float64), images,
        {name: commonest(known, _MOST_RANKED_VALUES) for name, known in columns.items()},
        min_rows=MIN_ROWS, min_clusters=MIN_IMAGES,
    )  # fmt: skip


def slice_columns(run: Folder, rows: NDArray[np.bool_]) -> dict[str, Property]:
    """Slice name → the value of each of ``rows``; raises UserError for a broken table."""
    table = open_predictions(run)
    known = table.slice_sql()
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in known.items())
    found = fetch_table(run.connection, f"SELECT {listed} FROM read_parquet(?)", [table.path])
    return {name: chosen(coded(found[name]), rows) for name in known}


def terms(ranked: RankedSlice) -> tuple[str, ...]:
    """A slice as ``FilterSpec.where`` has it."""
    return tuple(f"{name}={value}" for name, value in ranked.where)


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


@cached(64)
def flips(run: Folder, base: Folder, task: str) -> Flips | None:
    """Compare two runs on one task; None where no row of the task is right or wrong in both.

    Raises:
        UserError: the run's table is broken.
    """
    pairing = pair(run, base)
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
        slices=_slice_changes(slice_columns(run, both), before, now, images),
    )


def _slice_changes(
    columns: dict[str, Property], before: NDArray[np.float64], now: NDArray[np.float64], images: NDArray[np.int64]
) -> tuple[SliceChange, ...]:
    found: list[tuple[str, int, float, float, PairedDifference]] = []
    for name, known in columns.items():
        counts = np.bincount(known.codes, minlength=len(known.values))
        for code in np.argsort(-counts, kind="stable")[:_MOST_COMPARED_VALUES]:
            if known.values[code] and MIN_ROWS <= counts[code] < len(before):
                rows = np.flatnonzero(known.codes == code)
                old, new = before[rows], now[rows]
                change = mean_difference(old, new, images[rows])
                found.append((f"{name}={known.values[code]}", len(rows), float(old.mean()), float(new.mean()), change))
    q = benjamini_hochberg([1.0 if change.p is None else change.p for *_, change in found])
    by_slice = [
        SliceChange(where, n, old, new, change.value, change.low, change.high, float(adjusted))
        for (where, n, old, new, change), adjusted in zip(found, q, strict=True)
    ]
    return tuple(sorted(by_slice, key=lambda change: (change.difference, change.where)))


@dataclass(frozen=True)
class ReviewedRow:
    """The answers of two runs to one row, and whether each was right (None: no metric judges it)."""

    sample_id: str
    question: str
    references: tuple[str, ...]
    answer_before: str
    before: bool | None
    answer_now: str
    now: bool | None


@cached(16)
def reviewed_rows(run: Folder, base: Folder, ids: tuple[str, ...]) -> Sequence[ReviewedRow]:
    """The rows with these ids that both runs answered, in the order of ``ids``; raises UserError for a broken table."""
    now, before = open_predictions(run), open_predictions(base)
    sql = f"""
        SELECT a.sample_id, a.question, a."references" AS "references", b.correct AS before,
               coalesce(b.extracted, b.raw, '') AS answer_before,
               coalesce(a.extracted, a.raw, '') AS answer_now, a.correct AS now
        FROM (SELECT *, {now.correct_sql()} AS correct FROM read_parquet(?)) a
        JOIN (SELECT *, {before.correct_sql()} AS correct FROM read_parquet(?)) b USING (sample_id, task)
        WHERE a.sample_id IN (SELECT unnest(?))"""
    order = {sample_id: place for place, sample_id in enumerate(ids)}
    rows = fetch(run.connection, sql, [now.path, before.path, list(ids)])
    rows.sort(key=lambda row: order[row["sample_id"]])
    return [ReviewedRow(**row | {"references": tuple(row["references"] or ())}) for row in rows]


def mean_difference(
    before: NDArray[np.float64], now: NDArray[np.float64], images: NDArray[np.int64]
) -> PairedDifference:
    """Mean of ``now`` minus mean of ``before``.

    Args:
        before, now: (rows,) scores of the same rows.
        images: (rows,) code of each row's image, 0 … m − 1; not every code need occur.
    """
    rows = np.bincount(images)
    if np.count_nonzero(rows) <= MOST_RESAMPLED:
        codes = pd.factorize(images)[0]  # by first occurrence, so that intervals equal the evaluation's
        return paired_difference(mean_sums(before), mean_sums(now), codes)
    return closed_form(now - before, images, rows)


def closed_form(change: NDArray[np.float64], images: NDArray[np.int64], rows: NDArray[np.int64]) -> PairedDifference:
    """The mean of ``change`` as a ratio of sums over images, by linearisation (e.g. Wolter 2007, ch. 6).

    se² = m / (m − 1) · Σ over images (Σ of the image's changes − its rows × mean)² / rows²; interval and
    two-sided p by the normal approximation.

    Args:
        rows: (codes,) rows of each image.
    """
    from scipy.special import ndtr, ndtri

    n, clusters = len(change), int(np.count_nonzero(rows))
    mean = float(change.mean())
    residuals = np.bincount(images, change) - rows * mean
    se = float(np.sqrt((residuals**2).sum() * clusters / (clusters - 1))) / n
    margin = float(ndtri((1 + LEVEL) / 2)) * se
    p = float(2 * ndtr(-abs(mean) / se)) if se else float(mean == 0)
    return PairedDifference(mean, mean - margin, mean + margin, p, n, clusters, se)


def commonest(known: Property, most: int) -> Property:
    """The same with all but the ``most`` frequent values as no value ('')."""
    counts = np.bincount(known.codes, minlength=len(known.values))
    kept = set(np.argsort(-counts, kind="stable")[:most].tolist())
    return Property(tuple(value if code in kept else "" for code, value in enumerate(known.values)), known.codes)


def chosen(known: Property, mask: np.ndarray) -> Property:
    """The rows in ``mask`` only, with the values that they still have."""
    codes = known.codes[mask]
    old = np.flatnonzero(np.bincount(codes, minlength=len(known.values)))
    new = np.zeros(len(known.values), dtype=np.int64)
    new[old] = np.arange(len(old))
    return Property(tuple(known.values[code] for code in old), new[codes])
