"""Groups of near-identical images as stars: every member is confirmed against its representative.

Single-link groups drift (A like B, B like C, C unlike A); stars do not. Images come in keep-best
order; each either belongs to the first representative that it is confirmed against, or becomes one.

Near-identical images joined to the end: whoever is alike, directly or through others, is in one component.

Stars (``curate.duplicates.clusters``) say which row is kept in place of which, so they must not chain.
Splits are the other way round: two images that are alike must not part, whatever star they are in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.matching import Alike, difference


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


def build_components(alike: Alike, images: Indices) -> Indices:
    """For each image the first index of its component, int64 (n,); its own for one that is not among ``images``.

    Every image is compared with those that its hashes propose and that no component has yet, so a
    million copies of one image cost a million comparisons, not a million squared.

    Args:
        images: the images that take part.
    """
    component = np.arange(len(alike.looks.phash))
    free = np.zeros(len(component), bool)
    free[images] = True
    for first in alike.with_company().tolist():
        if not free[first]:
            continue
        free[first] = False
        reached = [first]
        while reached:
            members = np.unique(alike.of(reached.pop(), free))
            component[members] = first
            free[members] = False
            reached.extend(members.tolist())
    return component
