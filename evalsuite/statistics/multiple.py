"""Many tests at once: p-values that account for how many were made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from evalsuite.statistics.resampling import Floats


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
