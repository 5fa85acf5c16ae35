"""Intervals for scores of samples that share images.

Questions about one image are not independent, so resampling draws whole clusters (images), not
rows. Every estimate here is a function of sums over rows: a mean needs two sums, corpus BLEU ten.
Rows are summed per cluster once, and each resample is one row of a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# (rows, k) sums → (rows,) estimates
Estimate = Callable[[Floats], Floats]

REPLICATES = 2000
LEVEL = 0.95
MOST_UNITS = 1 << 15
_CELLS = 1 << 22  # weights held at a time
_HELD = 1 << 24  # sums held at a time


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval.

    Attributes:
        value: the estimate on all rows.
        low, high: bounds, or None with fewer than two clusters, which say nothing about the spread.
        n: rows.
        clusters: independent units among them.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int


def finite(value: float) -> float | None:
    """The value as JSON can hold it: None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def bounds(interval: Interval) -> dict[str, float | None]:
    """``value``, ``ci_low``, ``ci_high``."""
    return {"value": finite(interval.value), "ci_low": interval.low, "ci_high": interval.high}


def mean_of_sums(sums: Floats) -> Floats:
    """Mean from (sum, count); NaN where the count is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[:, 0] / sums[:, 1]


def mean_sums(values: ArrayLike) -> Floats:
    """Rows (value, 1): what ``mean_of_sums`` needs."""
    column = np.asarray(values, dtype=np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)


def cluster_codes(keys: Sequence[Hashable]) -> Ints:
    """Number the clusters 0, 1, … by first occurrence."""
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(keys))


def mean_interval(
    values: ArrayLike, clusters: ArrayLike | None = None, *, seed: int = 0, replicates: int = REPLICATES,
    level: float = LEVEL,
) -> Interval:  # fmt: skip
    """Mean of ``values`` with its interval; ``clusters`` are codes, None makes every row its own."""
    return interval(mean_sums(values), clusters, mean_of_sums, seed=seed, replicates=replicates, level=level)


def interval(
    sums: Floats, clusters: ArrayLike | None, estimate: Estimate, *, seed: int = 0, replicates: int = REPLICATES,
    level: float = LEVEL,
) -> Interval:  # fmt: skip
    """``estimate`` of the summed rows with its interval.

    Args:
        sums: (n, k) the row's share in each sum.
        clusters: (n,) codes of the rows' clusters; None: every row is its own.
        estimate: (m, k) sums → (m,) estimates.
        seed, replicates, level: of the resampling.
    """
    return intervals([(sums, estimate, None)], clusters, seed=seed, replicates=replicates, level=level)[0]


def intervals(
    parts: Sequence[tuple[Floats, Estimate, NDArray[np.bool_] | None]], clusters: ArrayLike | None, *, seed: int = 0,
    replicates: int = REPLICATES, level: float = LEVEL,
) -> list[Interval]:  # fmt: skip
    """Intervals of many estimates on the same rows; the same clusters are drawn for all.

    Args:
        parts: (sums, estimate, mask); the mask picks the rows of a slice, None takes all. Clusters are
            drawn from the whole set, so the size of a slice varies as it does in nature.
    """
    if not parts:
        return []
    rows = len(parts[0][0])
    codes = np.arange(rows) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    units, count = drawn_units(codes, seed)
    most = max(1, _HELD // max(1, count))
    found: list[Interval] = []
    block: list[tuple[Floats, Estimate, NDArray[np.bool_] | None]] = []
    width = 0
    for part in [*parts, None]:
        columns = 0 if part is None else part[0].shape[1]
        if block and (part is None or width + columns > most):
            found += _intervals(block, codes, units, count, seed, replicates, level)
            block, width = [], 0
        if part is not None:
            block.append(part)
            width += columns
    return found


def _intervals(
    parts: Sequence[tuple[Floats, Estimate, NDArray[np.bool_] | None]], codes: Ints, units: Ints, count: int, seed: int,
    replicates: int, level: float,
) -> list[Interval]:  # fmt: skip
    ends = np.cumsum([sums.shape[1] for sums, _, _ in parts])
    pieces = [slice(end - sums.shape[1], end) for (sums, _, _), end in zip(parts, ends, strict=True)]
    per_unit = np.empty((count, ends[-1]))
    for (sums, _, mask), piece in zip(parts, pieces, strict=True):
        per_unit[:, piece] = sums_by(units, count, sums) if mask is None else sums_by(units[mask], count, sums[mask])

    def every_estimate(sums: Floats) -> Floats:
        return np.stack([estimate(sums[:, piece]) for (_, estimate, _), piece in zip(parts, pieces, strict=True)], 1)

    values = every_estimate(per_unit.sum(0, keepdims=True))[0]
    resampled = resample(per_unit, every_estimate, seed, replicates)
    found: list[Interval] = []
    for number, (sums, _, mask) in enumerate(parts):
        n = len(sums) if mask is None else int(mask.sum())
        distinct = int(np.count_nonzero(np.bincount(codes if mask is None else codes[mask])))
        low, high = percentiles(resampled[:, number], level) if distinct > 1 else (None, None)
        found.append(Interval(float(values[number]), low, high, n, distinct))
    return found


def exact_when_unanimous(found: Interval, level: float = LEVEL) -> Interval:
    """Clopper-Pearson bounds, with clusters as trials, for right/wrong rows that are all right or all wrong.

    Every bootstrap resample of such rows is the same, so its interval would claim certainty.
    """
    if found.value not in (0.0, 1.0) or found.clusters < 1:
        return found
    bound = ((1 - level) / 2) ** (1 / found.clusters)
    low, high = (0.0, 1 - bound) if found.value == 0.0 else (bound, 1.0)
    return Interval(found.value, low, high, found.n, found.clusters)


def drawn_units(codes: Ints, seed: int) -> tuple[Ints, int]:
    """What a resample draws: the clusters, or random unions of clusters of equal number where there are very many.

    Unions are as independent as clusters, so the interval stays right; only as many are needed as tell its width
    well (32,768 tell the standard error to 0.4 %), and time and memory stop growing.

    Args:
        codes: (rows,) clusters 0 … m − 1, each of which occurs.

    Returns:
        (rows,) unit of each row, and the number of units.
    """
    count = int(codes.max()) + 1 if len(codes) else 0
    if count <= MOST_UNITS:
        return codes, count
    return (np.random.default_rng([seed, 1]).permutation(count) % MOST_UNITS)[codes], MOST_UNITS


def sums_by(units: Ints, count: int, sums: Floats) -> Floats:
    """(count, k) sums of the rows of each unit."""
    columns = [np.bincount(units, column, minlength=count) for column in np.asarray(sums, dtype=np.float64).T]
    return np.stack(columns, axis=1)


def resample(per_cluster: Floats, estimate: Estimate, seed: int, replicates: int) -> Floats:
    """Estimates on resampled clusters; empty below two clusters. Works in chunks that keep the weights small."""
    generator = np.random.default_rng(seed)
    count = len(per_cluster)
    if count < 2:
        return estimate(per_cluster.sum(0, keepdims=True))[:0]
    chunk = max(1, _CELLS // count)
    estimates = []
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = generator.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        estimates.append(estimate(weights.astype(np.float64) @ per_cluster))
    return np.concatenate(estimates)


def percentiles(resampled: Floats, level: float) -> tuple[float | None, float | None]:
    """The middle ``level`` of resampled estimates; None where fewer than half are finite, as of a number that only
    all rows together have."""
    usable = resampled[np.isfinite(resampled)]
    if len(usable) == 0 or 2 * len(usable) < len(resampled):
        return None, None
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
