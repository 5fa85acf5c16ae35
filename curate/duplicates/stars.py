"""Groups of near-identical images as stars: every member is confirmed against its representative.

Single-link groups drift (A like B, B like C, C unlike A); stars do not. Images come in keep-best
order; each either belongs to the first representative that it is confirmed against, or becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.alike import Alike
from curate.duplicates.groups import Indices
from curate.duplicates.looks import Looks, difference
from curate.recipe import MatchSettings


@dataclass(frozen=True)
class Stars:
    """Arrays of one length n, in the order of the images given.

    Attributes:
        representative: index of the representative; its own for a representative.
        mean, cell, bits: distances to it (``looks.Difference``), 0 for a representative.
    """

    representative: Indices
    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]


def build_stars(looks: Looks, settings: MatchSettings) -> Stars:
    """Group images; ``looks`` is in keep-best order, so that a representative is the best of its star."""
    alike = Alike(looks, settings)
    count = len(looks.phash)
    representative = np.arange(count)
    free = np.ones(count, bool)
    # All earlier images that have company are done when an image is reached, so only later ones are free.
    for image in alike.with_company().tolist():
        if free[image]:
            free[image] = False
            members = alike.of(image, free)
            representative[members] = image
            free[members] = False
    members = np.flatnonzero(representative != np.arange(count))
    apart = difference(looks, representative[members], looks, members, settings)
    mean, cell, bits = np.zeros(count), np.zeros(count), np.zeros(count, np.int32)
    mean[members], cell[members], bits[members] = apart.mean, apart.cell, apart.bits
    return Stars(representative, mean, cell, bits)
