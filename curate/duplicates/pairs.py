"""All pairs of 64-bit hashes within a Hamming radius, as one sorted array."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from curate.duplicates.groups import Hashes, Indices, Pairs, group_equal
from curate.duplicates.hamming import neighbours

_MAX_RADIUS = 16


def pairs_within(hashes: Hashes, radius: int) -> Indices:
    """Every pair of indices i < j whose hashes differ in at most ``radius`` bits.

    Args:
        hashes: shape (n,), dtype uint64.
        radius: 0 to 16.

    Returns:
        int64 array of shape (m, 2) in lexicographic order. Equal hashes are pairs as well: k equal
        ones give k(k-1)/2 rows, 16 bytes each.

    Time grows with the radius: on one core a million random hashes take seconds up to 4, half a minute at 8, and
    from 14 on, where all are compared with all, eight minutes (0.8 ns a comparison).

    Raises:
        ValueError: another radius, dtype or shape.
    """
    _check(hashes, radius)
    values, members = group_equal(hashes)
    near = neighbours(values, values, radius, same=True)
    unequal = (pair for left, right in near for pair in members.product_blocks(members, left, right))
    return _lexicographic(itertools.chain(unequal, members.pairs_inside()), len(hashes), ascending=True)


def pairs_between(a: Hashes, b: Hashes, radius: int) -> Indices:
    """Every (i, j) such that ``a[i]`` and ``b[j]`` differ in at most ``radius`` bits.

    Returns:
        int64 array of shape (m, 2) in lexicographic order.

    Raises:
        ValueError: radius outside of 0-16, or an array that is not one-dimensional uint64.
    """
    _check(a, radius)
    _check(b, radius)
    values_a, members_a = group_equal(a)
    values_b, members_b = group_equal(b)
    near = neighbours(values_a, values_b, radius, same=False)
    pairs = (pair for left, right in near for pair in members_a.product_blocks(members_b, left, right))
    return _lexicographic(pairs, len(b), ascending=False)


def _lexicographic(blocks: Iterator[Pairs], columns: int, *, ascending: bool) -> Indices:
    """Pairs sorted by their cell in a table of so many columns: one number a pair takes half the memory of two."""
    cells = [np.empty(0, np.int64)]
    for i, j in blocks:
        cells.append(np.minimum(i, j) * columns + np.maximum(i, j) if ascending else i * columns + j)
    joined = np.concatenate(cells)
    del cells
    joined.sort()
    pairs = np.empty((len(joined), 2), np.int64)
    np.divmod(joined, max(columns, 1), out=(pairs[:, 0], pairs[:, 1]))
    return pairs


def _check(hashes: Hashes, radius: int) -> None:
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ValueError(f"hashes must be a one-dimensional uint64 array, not {hashes.dtype} of shape {hashes.shape}")
    if not 0 <= radius <= _MAX_RADIUS:
        raise ValueError(f"radius must be 0 to {_MAX_RADIUS}, not {radius}")
