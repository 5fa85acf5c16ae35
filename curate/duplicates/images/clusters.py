"""Clusters of near-identical images: stars for keeping one of each, connected components for splits.

A star is a representative and the images that are confirmed against it. Single-link groups drift (A like B, B like C,
C unlike A); stars do not, so they decide which row is kept in place of which. Images come in keep-best order; each
belongs to the first representative that it is confirmed against, or becomes one.

Connected components of the near-duplicate graph decide splits: two images that are alike must not be separated,
whatever star they are in, nor an edited copy from its original.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.images.fingerprints import compare
from curate.duplicates.images.matching import DuplicateIndex
from curate.kinds import KindPairs


@dataclass(frozen=True)
class StarClusters:
    """Images that belong to another one, arrays of one length.

    Attributes:
        member: index of the image, ascending.
        representative: index of the image that it belongs to.
        mean, cell, bits: differences between the two (``fingerprints.PairDifference``).
    """

    member: Indices
    representative: Indices
    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]


def build_star_clusters(duplicates: DuplicateIndex, best_first: Indices) -> StarClusters:
    """Give each image the first representative that it is confirmed against, greedily in keep-best order.

    Args:
        best_first: the images that take part, in keep-best order, so that a representative is the best of its star;
            those without candidates may be left out.
    """
    count = len(duplicates.fingerprints)
    representative, free = np.arange(count), np.zeros(count, bool)
    free[best_first] = True
    has_candidates = np.zeros(count, bool)
    has_candidates[duplicates.with_candidates()] = True
    # All better images that have candidates are done when an image is reached, so only worse ones are free.
    for image in best_first[has_candidates[best_first]].tolist():
        if free[image]:
            free[image] = False
            members = duplicates.duplicates_of(image, free)
            representative[members] = image
            free[members] = False
    member = np.flatnonzero(representative != np.arange(count))
    difference = compare(
        duplicates.fingerprints, representative[member], duplicates.fingerprints, member, duplicates.settings
    )
    return StarClusters(member, representative[member], difference.mean, difference.cell, difference.bits)


def connected_components(duplicates: DuplicateIndex, images: Indices) -> Indices:
    """For each image the first index of its component, int64 (n,); its own for one that is not among ``images``.

    Every image is compared with those that its hashes propose and that no component has yet, so a
    million copies of one image cost a million comparisons, not a million squared.

    Args:
        images: the images that take part.
    """
    component = np.arange(len(duplicates.fingerprints))
    free = np.zeros(len(component), bool)
    free[images] = True
    for first in duplicates.with_candidates().tolist():
        if not free[first]:
            continue
        free[first] = False
        reached = [first]
        while reached:
            members = np.unique(duplicates.duplicates_of(reached.pop(), free))
            component[members] = first
            free[members] = False
            reached.extend(members.tolist())
    return component


def joined_components(component: Indices, edits: KindPairs, images: Indices) -> Indices:
    """Components that edited copies join to one, each by the first index of its component.

    Args:
        component: of ``connected_components``.
        edits: pairs of images.
        images: the images that take part.
    """
    if not len(edits):
        return component
    from scipy.sparse import coo_array, csgraph

    takes_part = np.zeros(len(component), bool)
    takes_part[images] = True
    both = takes_part[edits.i] & takes_part[edits.j]
    ends = component[edits.i[both]], component[edits.j[both]]
    links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(component), len(component)))
    _, label = csgraph.connected_components(links, directed=False)
    first = np.full(label.max(initial=-1) + 1, len(component))
    np.minimum.at(first, label, np.arange(len(component)))
    joined: Indices = first[label[component]]
    return joined
