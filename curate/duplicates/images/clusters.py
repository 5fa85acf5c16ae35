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

_AT_ONCE = 1 << 18  # pairs as Python objects


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

    What one component of the graph of pairs gets depends on no other. So components without dense buckets are taken
    pair by pair, and only the others ask for the duplicates of each image.

    Args:
        best_first: the images that take part, in keep-best order, so that a representative is the best of its star;
            those without candidates may be left out.
    """
    count = len(duplicates.fingerprints)
    place = np.full(count, -1)
    place[best_first] = np.arange(len(best_first))
    pairs = duplicates.near[(place[duplicates.near] >= 0).all(axis=1)]
    component = components(pairs[:, 0], pairs[:, 1], count)
    asking = np.zeros(count, bool)
    asking[component[duplicates.in_dense_buckets()]] = True
    asking = asking[component]
    representative = np.arange(count)
    _take_pairs(representative, pairs[~asking[pairs[:, 0]]], place)
    _take_images(representative, duplicates, best_first[asking[best_first]])
    member = np.flatnonzero(representative != np.arange(count))
    difference = compare(
        duplicates.fingerprints, representative[member], duplicates.fingerprints, member, duplicates.settings
    )
    return StarClusters(member, representative[member], difference.mean, difference.cell, difference.bits)


def _take_pairs(representative: Indices, pairs: Indices, place: Indices) -> None:
    """Fill ``representative`` from all pairs of some images, the pairs of the best ones first."""
    nodes, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(pairs.shape)
    ends = np.take_along_axis(ends, np.argsort(place[pairs], axis=1), axis=1)
    ends = ends[np.argsort(place[nodes[ends[:, 0]]], kind="stable")]
    star = list(range(len(nodes)))
    for start in range(0, len(ends), _AT_ONCE):
        # An image leads when its turn comes, as all pairs with better ones are done.
        for better, other in ends[start : start + _AT_ONCE].tolist():
            if star[better] == better and star[other] == other:
                star[other] = better
    representative[nodes] = nodes[np.array(star, np.int64)]


def _take_images(representative: Indices, duplicates: DuplicateIndex, best_first: Indices) -> None:
    """Fill ``representative`` image by image."""
    free = np.zeros(len(representative), bool)
    free[best_first] = True
    # All better images are done when an image is reached, so only worse ones are free.
    for image in best_first.tolist():
        if free[image]:
            free[image] = False
            members = duplicates.duplicates_of(image, free)
            representative[members] = image
            free[members] = False


def connected_components(duplicates: DuplicateIndex, images: Indices) -> Indices:
    """For each image the first index of its component, int64 (n,); its own for one that is not among ``images``.

    In dense buckets every image is compared with those that its hashes propose and that no component has yet, so a
    million copies of one image cost a million comparisons, not a million squared.

    Args:
        images: the images that take part.
    """
    count = len(duplicates.fingerprints)
    takes_part = np.zeros(count, bool)
    takes_part[images] = True
    pairs = duplicates.near[takes_part[duplicates.near].all(axis=1)]
    free = np.zeros(count, bool)
    dense = duplicates.in_dense_buckets()
    free[dense[takes_part[dense]]] = True
    crowd = np.arange(count)
    for first in np.flatnonzero(free).tolist():
        if not free[first]:
            continue
        free[first] = False
        reached = [first]
        while reached:
            members = np.unique(duplicates.duplicates_of(reached.pop(), free))
            crowd[members] = first
            free[members] = False
            reached.extend(members.tolist())
    in_crowd = np.flatnonzero(crowd != np.arange(count))
    i, j = np.concatenate([pairs[:, 0], in_crowd]), np.concatenate([pairs[:, 1], crowd[in_crowd]])
    return components(i, j, count)


def components(i: Indices, j: Indices, count: int) -> Indices:
    """For each of ``count`` nodes of a graph the first index of its component, int64 (count,).

    Args:
        i, j: the ends of its edges.
    """
    if not len(i):
        return np.arange(count)
    from scipy.sparse import coo_array, csgraph  # here, because it takes long to load

    nodes, ends = np.unique(np.stack([i, j]), return_inverse=True)  # most have no edge
    links = coo_array((np.ones(len(i), bool), tuple(ends)), shape=(len(nodes), len(nodes)))
    _, label = csgraph.connected_components(links, directed=False)
    first = np.full(label.max(initial=-1) + 1, count)
    np.minimum.at(first, label, nodes)
    component = np.arange(count)
    component[nodes] = first[label]
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
    takes_part = np.zeros(len(component), bool)
    takes_part[images] = True
    both = takes_part[edits.i] & takes_part[edits.j]
    return components(component[edits.i[both]], component[edits.j[both]], len(component))[component]
