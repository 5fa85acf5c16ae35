"""Intervals and tests for scores of samples that share images.

Questions about one picture are not independent, so resampling draws whole clusters (images), not
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
_CELLS = 1 << 22  # weights held at a time


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval.

    Attributes:
        value: the estimate on all rows.
        low, high: bounds, or None with fewer than two clusters: nothing can be said.
        n: rows.
        clusters: independent units among them.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int


@dataclass(frozen=True)
class Difference:
    """B minus A on the same rows.

    Attributes:
        value, low, high: estimate and interval of the difference; bounds None below two clusters.
        p: two-sided bootstrap p-value, at least 1 / (replicates + 1); None below two clusters.
        n, clusters: rows and clusters compared.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    clusters: int


@dataclass(frozen=True)
class McNemar:
    """Exact test of two 0/1 outcomes on the same rows (McNemar 1947; mid-p: Fagerland et al. 2013).

    Attributes:
        only_a, only_b: rows that only A, only B got right.
        both, neither: rows on which they agree.
        p_exact: two-sided exact binomial p-value.
        p_mid: mid-p, less conservative.
    """

    only_a: int
    only_b: int
    both: int
    neither: int
    p_exact: float
    p_mid: float


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
    """Intervals of many estimates on the same rows from one resampling.

    Args:
        parts: (sums, estimate, mask); the mask picks the rows of a slice, None takes all. Clusters are
            drawn from the whole set, so the size of a slice varies as it does in nature.
    """
    masked = [np.asarray(sums, np.float64) * (1.0 if mask is None else mask[:, None]) for sums, _, mask in parts]
    ends = np.cumsum([sums.shape[1] for sums in masked])
    per_cluster = _per_cluster(np.concatenate(masked, axis=1), clusters)
    codes = np.arange(len(per_cluster)) if clusters is None else np.asarray(clusters)
    pieces = [slice(end - sums.shape[1], end) for sums, end in zip(masked, ends, strict=True)]

    def every_estimate(sums: Floats) -> Floats:
        return np.stack([estimate(sums[:, piece]) for (_, estimate, _), piece in zip(parts, pieces, strict=True)], 1)

    values = every_estimate(per_cluster.sum(0, keepdims=True))[0]
    resampled = _resample(per_cluster, every_estimate, seed, replicates)
    found: list[Interval] = []
    for number, (sums, _, mask) in enumerate(parts):
        n = len(sums) if mask is None else int(mask.sum())
        distinct = len(np.unique(codes if mask is None else codes[mask]))
        low, high = _bounds(resampled[:, number], level) if distinct > 1 else (None, None)
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


def paired_difference(
    a: Floats, b: Floats, clusters: ArrayLike | None, estimate: Estimate = mean_of_sums, *, seed: int = 0,
    replicates: int = REPLICATES, level: float = LEVEL,
) -> Difference:  # fmt: skip
    """Estimate of B minus estimate of A, resampling the same clusters for both.

    Args:
        a, b: (n, k) sums of the same n rows in the same order.
    """
    width = a.shape[1]

    def difference(sums: Floats) -> Floats:
        return estimate(sums[:, width:]) - estimate(sums[:, :width])

    per_cluster = _per_cluster(np.concatenate([a, b], axis=1), clusters)
    value = float(difference(per_cluster.sum(0, keepdims=True))[0])
    resampled = _resample(per_cluster, difference, seed, replicates)
    low, high = _bounds(resampled, level)
    p = None
    if len(resampled):
        tail = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
        p = min(1.0, 2 * (tail + 1) / (replicates + 1))
    return Difference(value, low, high, p, len(a), len(per_cluster))


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Compare two arrays of right/wrong on the same rows. Rows count as independent here."""
    from scipy.stats import binom

    right_a, right_b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    fewer, discordant = min(only_a, only_b), only_a + only_b
    tail, point = float(binom.cdf(fewer, discordant, 0.5)), float(binom.pmf(fewer, discordant, 0.5))
    return McNemar(
        only_a, only_b, int((right_a & right_b).sum()), int((~right_a & ~right_b).sum()),
        p_exact=min(1.0, 2 * tail), p_mid=min(1.0, 2 * tail - point),
    )  # fmt: skip


def _per_cluster(sums: Floats, clusters: ArrayLike | None) -> Floats:
    if clusters is None:
        return np.asarray(sums, dtype=np.float64)
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    columns = [np.bincount(codes, column) for column in np.asarray(sums, dtype=np.float64).T]
    return np.stack(columns, axis=1)


def _resample(per_cluster: Floats, estimate: Estimate, seed: int, replicates: int) -> Floats:
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


def _bounds(resampled: Floats, level: float) -> tuple[float | None, float | None]:
    usable = resampled[np.isfinite(resampled)]
    if len(usable) == 0:
        return None, None
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
