"""Greedy orders of pictures by their similarity: k-centre and facility location, exact up to a few thousand pictures.

K-centre (Gonzalez 1985) takes the picture that is farthest from all taken ones; its radius is at most twice the
optimum. Facility location (Nemhauser, Wolsey and Fisher 1978) takes the picture that raises the sum of every picture's
similarity to its nearest taken one the most; it reaches at least 1 - 1/e of the optimum.

Larger sets are cut into cells by k-means, and the cells' orders are merged by what each step gained. For facility
location this is the greedy order of the sum in which a picture is served from its own cell only; for k-centre,
distances across cells are not looked at. The work then grows with the number of pictures, not with its square.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.measure.set_embeddings import SetEmbeddings

Floats = NDArray[np.float32]
CELL = 2048  # pictures of a cell; twice as many are not cut
_TRAINED, _ROUNDS, _BLOCK = 32, 6, 8192  # pictures a cell that k-means learns from, its rounds, pictures at once


def k_centre(similarity: Floats) -> tuple[Indices, Floats]:
    """All pictures in greedy k-centre order, and the distance of each to the nearest one before it.

    The first is the one with the largest mean similarity, at distance infinity; ties go to the smaller number.

    Args:
        similarity: (n, n), cosines.
    """
    count = len(similarity)
    order, gains = np.empty(count, np.int64), np.empty(count, np.float32)
    nearest = np.full(count, -np.inf, np.float32)
    chosen = int(similarity.mean(axis=1, dtype=np.float64).argmax())
    for step in range(count):
        if step:
            chosen = int(nearest.argmin())
        order[step], gains[step] = chosen, 1 - nearest[chosen]
        np.maximum(nearest, similarity[chosen], out=nearest)
        nearest[chosen] = np.inf  # and stays so: it is never taken again
    return order, gains


def facility_location(similarity: Floats) -> tuple[Indices, Floats]:
    """All pictures in greedy order, and what each adds to the sum of similarities to the nearest taken one.

    Similarities below 0 count as 0. Gains never grow, so one that was computed earlier is a bound (lazy evaluation,
    Minoux 1978). Ties go to the smaller number.

    Args:
        similarity: (n, n), cosines.
    """
    count = len(similarity)
    served = np.zeros(count, np.float32)
    bounds = np.maximum(similarity, 0).sum(axis=1, dtype=np.float64)
    waiting = [(-float(bound), number) for number, bound in enumerate(bounds)]
    heapq.heapify(waiting)
    order, gains = np.empty(count, np.int64), np.empty(count, np.float32)
    for step in range(count):
        while True:
            _, number = heapq.heappop(waiting)
            gain = float(np.maximum(similarity[number] - served, 0).sum(dtype=np.float64))
            if not waiting or (-gain, number) <= waiting[0]:
                break
            heapq.heappush(waiting, (-gain, number))
        order[step], gains[step] = number, gain
        np.maximum(served, similarity[number], out=served)
    return order, gains


def ranked(
    embeddings: SetEmbeddings, numbers: Indices, greedy: Callable[[Floats], tuple[Indices, Floats]], seed: int
) -> Indices:
    """The pictures in the greedy order of their cells, merged by gain.

    Args:
        numbers: of the pictures, each with an embedding.
        seed: of k-means, where there are more than two cells' worth.
    """
    order, gains, steps = [], [], []
    for cell in cells(embeddings, numbers, seed):
        embedded = embeddings.of(cell)
        found, gain = greedy(embedded @ embedded.T)
        order.append(cell[found])
        gains.append(gain)
        steps.append(np.arange(len(cell)))
    if not order:
        return numbers
    merged = np.concatenate(order)
    # Rounding may let a gain grow by a little: within a cell the order stays.
    falling = np.concatenate([np.minimum.accumulate(gain) for gain in gains])
    return merged[np.lexsort((merged, np.concatenate(steps), -falling))]


def cells(embeddings: SetEmbeddings, numbers: Indices, seed: int) -> Iterator[Indices]:
    """The pictures cut into cells of at most ``CELL`` like ones; not cut if there are at most twice as many."""
    if len(numbers) <= 2 * CELL:
        if len(numbers):
            yield numbers
        return
    nearest, cosine = clusters(embeddings, numbers, -(-len(numbers) // CELL), seed)
    order = np.lexsort((numbers, -cosine, nearest))
    for members in np.split(numbers[order], np.flatnonzero(np.diff(nearest[order])) + 1):
        # A cluster that is too large is cut into shells around its centre.
        yield from np.array_split(members, -(-len(members) // CELL))


def clusters(embeddings: SetEmbeddings, numbers: Indices, count: int, seed: int) -> tuple[Indices, Floats]:
    """Spherical k-means, trained on a sample: the centre of each picture, and its cosine to it."""
    random = np.random.default_rng(seed)
    sample = np.sort(random.permutation(numbers)[: count * _TRAINED])
    embedded = embeddings.of(sample)
    centres = embedded[random.permutation(len(embedded))[:count]].copy()
    for _ in range(_ROUNDS):
        nearest = np.concatenate([at for at, _ in _nearest(embedded, centres)])
        sums = np.zeros(centres.shape, np.float64)
        np.add.at(sums, nearest, embedded)
        lengths = np.linalg.norm(sums, axis=1)
        centres[lengths > 0] = (sums[lengths > 0] / lengths[lengths > 0, None]).astype(np.float32)
    found = [
        pair
        for start in range(0, len(numbers), _BLOCK)
        for pair in _nearest(embeddings.of(numbers[start : start + _BLOCK]), centres)
    ]
    return np.concatenate([at for at, _ in found]), np.concatenate([cosine for _, cosine in found])


def _nearest(embedded: Floats, centres: Floats) -> Iterator[tuple[Indices, Floats]]:
    for start in range(0, len(embedded), _BLOCK):
        cosines = embedded[start : start + _BLOCK] @ centres.T
        nearest = cosines.argmax(axis=1)
        yield nearest, cosines[np.arange(len(nearest)), nearest]
