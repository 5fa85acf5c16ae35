"""Which rows of two evaluations belong together: those that were asked the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboards.query.marks import Marks

NOT_ASKED = -2


@dataclass(frozen=True)
class Pairing:
    """Two runs row by row.

    Attributes:
        partner: (rows of the run,) row of the baseline with the same id, task, images, question and references;
            -1 where there is none.
        before: (rows of the run,) the baseline's RIGHT, WRONG or NO_VERDICT there, NOT_ASKED without a partner.
    """

    run: Marks
    base: Marks
    partner: NDArray[np.int64]
    before: NDArray[np.int8]

    def only_base(self, task: str) -> int:
        """How many rows of a task the baseline has alone."""
        met = np.zeros(len(self.base.asked), dtype=bool)
        met[self.partner[self.partner >= 0]] = True
        return int((self.base.of_task(task) & ~met).sum())


def pair(run: Marks, base: Marks) -> Pairing:
    """Join two runs on what was asked."""
    partner = _partners(run.asked, base.asked)
    before = np.full(len(partner), NOT_ASKED, dtype=np.int8)
    before[partner >= 0] = base.correct[partner[partner >= 0]]
    return Pairing(run, base, partner, before)


def _partners(asked: NDArray[np.uint64], base: NDArray[np.uint64]) -> NDArray[np.int64]:
    if np.array_equal(asked, base):  # two runs of one recipe: the usual case
        return np.arange(len(asked))
    if not len(base):
        return np.full(len(asked), -1)
    order = np.argsort(base, kind="stable")
    places = np.searchsorted(base, asked, sorter=order)
    rows = order[np.minimum(places, len(order) - 1)]
    return np.where(base[rows] == asked, rows, -1)
