"""Where errors gather: how many more a group of rows makes than the whole would lead one to expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalsuite.statistics.resampling import LEVEL, Floats


@dataclass(frozen=True)
class Excess:
    """Errors of a group against the error rate of all rows.

    Attributes:
        n, clusters: rows of the group and images among them.
        rate: mean error in the group, 0 to 1.
        excess: errors beyond ``n`` × the overall rate; negative where the group does better.
        low, high: interval of ``excess``; None below two clusters.
        p: two-sided p-value of the group's rate being the overall rate; None below two clusters.
    """

    n: int
    clusters: int
    rate: float
    excess: float
    low: float | None
    high: float | None
    p: float | None


def excess_errors(errors: ArrayLike, mask: NDArray[np.bool_], clusters: ArrayLike, *, level: float = LEVEL) -> Excess:
    """Excess errors of the rows in ``mask``.

    Group rate minus overall rate is a difference of two ratios on the same rows. Its variance is
    taken by linearisation, summed over clusters (Taylor series variance of survey statistics, e.g.
    Wolter 2007, ch. 6), with m / (m − 1) for m clusters.

    Args:
        errors: (rows,) from 0 (right) to 1.
        mask: (rows,) the group.
        clusters: (rows,) code of each row's image, 0 … m − 1.
    """
    from scipy.special import ndtr, ndtri

    wrong, codes = np.asarray(errors, dtype=np.float64), np.asarray(clusters)
    n, total = int(mask.sum()), len(wrong)
    images = int(np.count_nonzero(np.bincount(codes[mask])))
    overall = float(wrong.mean())
    rate = float(wrong[mask].mean()) if n else 0.0
    excess = n * (rate - overall)
    if images < 2:
        return Excess(n, images, rate, excess, None, None, None)
    influence = mask * (wrong - rate) / n - (wrong - overall) / total
    se = n * float(np.sqrt(_variance(influence, codes)))
    if se == 0:
        return Excess(n, images, rate, excess, excess, excess, 1.0 if excess == 0 else 0.0)
    reach = float(ndtri((1 + level) / 2)) * se
    return Excess(n, images, rate, excess, excess - reach, excess + reach, float(2 * ndtr(-abs(excess) / se)))


def _variance(influence: Floats, codes: NDArray[np.int64]) -> float:
    sums = np.bincount(codes, influence)
    present = sums[np.bincount(codes) > 0]
    return float((present**2).sum() * len(present) / max(1, len(present) - 1))
