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
from curate.duplicates.looks import difference


@dataclass(frozen=True)
class Stars:
    """Images that belong to another one, arrays of one length.

    Attributes:
        member: index of the image, ascending.
        representative: index of the image that it belongs to.
        mean, cell, bits: distances between the two (``looks.Difference``).
    """

    member: Indices
    representative: Indices
    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]


def build_stars(alike: Alike, best_first: Indices) -> Stars:
    """Group images.

    Args:
        best_first: the images that take part, in keep-best order, so that a representative is the best of its star;
            those without company may be left out.
    """
    count = len(alike.looks.phash)
    representative, free = np.arange(count), np.zeros(count, bool)
    free[best_first] = True
    has_company = np.zeros(count, bool)
    has_company[alike.with_company()] = True
    # All better images that have company are done when an image is reached, so only worse ones are free.
    for image in best_first[has_company[best_first]].tolist():
        if free[image]:
            free[image] = False
            members = alike.of(image, free)
            representative[members] = image
            free[members] = False
    member = np.flatnonzero(representative != np.arange(count))
    apart = difference(alike.looks, representative[member], alike.looks, member, alike.settings)
    return Stars(member, representative[member], apart.mean, apart.cell, apart.bits)
