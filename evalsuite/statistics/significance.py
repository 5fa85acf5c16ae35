"""Two systems on the same rows: whether their difference is real, and adjustment of p-values for many tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evalsuite.statistics.resampling import (
    LEVEL,
    REPLICATES,
    Estimate,
    Floats,
    drawn_units,
    mean_of_sums,
    percentiles,
    resample,
    sums_by,
)  # fmt: skip

POWER = 0.8


@dataclass(frozen=True)
class PairedDifference:
    """B minus A on the same rows.

    Attributes:
        value, low, high: estimate and interval of the difference; bounds None below two clusters.
        p: two-sided bootstrap p-value, at least 1 / (replicates + 1); None below two clusters.
        n, clusters: rows and clusters compared.
        se: standard error of the difference, from the same resamples.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    clusters: int
    se: float | None = None


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


def paired_difference(
    a: Floats, b: Floats, clusters: ArrayLike | None, estimate: Estimate = mean_of_sums, *, seed: int = 0,
    replicates: int = REPLICATES, level: float = LEVEL,
) -> PairedDifference:  # fmt: skip
    """Estimate of B minus estimate of A, resampling the same clusters for both.

    Args:
        a, b: (n, k) sums of the same n rows in the same order.
    """
    width = a.shape[1]

    def difference(sums: Floats) -> Floats:
        return estimate(sums[:, width:]) - estimate(sums[:, :width])

    codes = np.arange(len(a)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    units, count = drawn_units(codes, seed)
    per_unit = sums_by(units, count, np.concatenate([a, b], axis=1))
    value = float(difference(per_unit.sum(0, keepdims=True))[0])
    resampled = resample(per_unit, difference, seed, replicates)
    low, high = percentiles(resampled, level)
    p = se = None
    usable = resampled[np.isfinite(resampled)]
    if low is not None:
        tail = min(int((usable <= 0).sum()), int((usable >= 0).sum()))
        p = min(1.0, 2 * (tail + 1) / (len(usable) + 1))
        se = float(usable.std(ddof=1)) if len(usable) > 1 else None
    return PairedDifference(value, low, high, p, len(a), len(np.unique(codes)), se)


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Compare two arrays of right/wrong on the same rows. Rows count as independent here."""
    from scipy.special import bdtr, gammaln

    right_a, right_b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    fewer, discordant = min(only_a, only_b), only_a + only_b
    tail = float(bdtr(fewer, discordant, 0.5))
    ways = gammaln(discordant + 1) - gammaln(fewer + 1) - gammaln(discordant - fewer + 1)
    point = float(np.exp(ways - discordant * np.log(2)))
    return McNemar(
        only_a, only_b, int((right_a & right_b).sum()), int((~right_a & ~right_b).sum()),
        p_exact=min(1.0, 2 * tail), p_mid=min(1.0, 2 * tail - point),
    )  # fmt: skip


def smallest_detectable(se: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest true difference that a two-sided test would find with probability ``power``.

    (z of 1 − (1 − level) / 2, plus z of power) × standard error, by the normal approximation.
    """
    from scipy.special import ndtri

    return float((ndtri((1 + level) / 2) + ndtri(power)) * se)


def holm(p: ArrayLike) -> Floats:
    """Adjusted p-values that bound the chance of any false finding (Holm 1979, step-down).

    Args:
        p: (m,) p-values in any order; NaN is no test and stays NaN.
    """
    return _adjusted(np.asarray(p, dtype=np.float64), _holm)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values that bound the share of false findings (Benjamini and Hochberg 1995, step-up).

    Args:
        p: (m,) p-values in any order; NaN is no test and stays NaN.
    """
    return _adjusted(np.asarray(p, dtype=np.float64), _benjamini_hochberg)


def _adjusted(p: Floats, rule: Callable[[Floats], Floats]) -> Floats:
    out = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    if len(tested):
        order = tested[np.argsort(p[tested], kind="stable")]
        out[order] = np.minimum(rule(p[order]), 1.0)
    return out


def _holm(ascending: Floats) -> Floats:
    count = len(ascending)
    return np.maximum.accumulate(ascending * (count - np.arange(count)))


def _benjamini_hochberg(ascending: Floats) -> Floats:
    count = len(ascending)
    raised = ascending * count / (1 + np.arange(count))
    return np.minimum.accumulate(raised[::-1])[::-1]
