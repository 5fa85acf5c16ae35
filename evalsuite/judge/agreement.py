"""How far a judge agrees with another way of telling right from wrong: a rule, or a reviewer.

Both sides call each row right or wrong; a judge's score counts as right from 0.5 on. With p the share of rows on which
both say the same, and e the share expected if each kept its own share of rights but drew its rows at random, Cohen's
kappa is (p − e) / (1 − e) (Cohen 1960): 1 is full agreement, 0 what chance gives, below 0 less than that. It does not
exist where both sides call every row right, or every row wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.statistics import Floats, Ints, bounds, intervals

CELLS = ("both_right", "only_judge", "only_other", "both_wrong")


def agreement(judge: NDArray[np.bool_], other: NDArray[np.bool_], clusters: Ints, seed: int) -> dict[str, Any]:
    """Raw agreement and Cohen's kappa on the same rows, with intervals, and the confusion matrix.

    Args:
        judge: (rows,) rows that the judge calls right.
        other: (rows,) rows that the other side calls right.
        clusters: (rows,) codes of the rows' images, whole ones of which are resampled.

    Returns:
        ``n``; ``agreement`` and ``kappa``, each ``value``, ``ci_low``, ``ci_high`` (None where there is none); and the
        number of rows in each cell of ``CELLS``.
    """
    cells = np.stack([judge & other, judge & ~other, ~judge & other, ~judge & ~other], axis=1).astype(np.float64)
    counts = {name: int(count) for name, count in zip(CELLS, cells.sum(0), strict=True)}
    if not len(cells):
        nothing = {"value": None, "ci_low": None, "ci_high": None}
        return {"n": 0, "agreement": nothing, "kappa": nothing, **counts}
    found = intervals([(cells, raw_agreement, None), (cells, cohens_kappa, None)], clusters, seed=seed)
    raw, kappa = (bounds(one) for one in found)
    return {"n": len(cells), "agreement": raw, "kappa": kappa, **counts}


def raw_agreement(cells: Floats) -> Floats:
    """(m, 4) counts of ``CELLS`` → (m,) shares of rows on which both say the same."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((cells[:, 0] + cells[:, 3]) / cells.sum(1))


def cohens_kappa(cells: Floats) -> Floats:
    """(m, 4) counts of ``CELLS`` → (m,) kappas, NaN where there is none."""
    n = cells.sum(1)
    judge, other = cells[:, 0] + cells[:, 1], cells[:, 0] + cells[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (judge * other + (n - judge) * (n - other)) / n**2
        return np.asarray((raw_agreement(cells) - chance) / (1 - chance))
