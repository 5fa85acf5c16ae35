"""Hashes of 64 bits over whole columns of numbers, and rows that are equal by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
_AT_ONCE = 1 << 14
_STEPS = [
    (np.uint64(bits), np.uint64(factor))
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
]


def mixed(values: Hashes, salt: int = 0) -> Hashes:
    """The finaliser of splitmix64 (Steele et al. 2014), which mixes all bits; another salt, another hash."""
    found = values + np.uint64((salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    scratch = np.empty(min(len(found), _AT_ONCE), np.uint64)
    for start in range(0, len(found), _AT_ONCE):  # so many stay in the cache
        some = found[start : start + _AT_ONCE]
        shifted = scratch[: len(some)]
        for bits, factor in _STEPS:
            np.right_shift(some, bits, out=shifted)
            some ^= shifted
            some *= factor
    return found


def mixed_columns(columns: list[Hashes], salt: int = 0) -> Hashes:
    """One hash of each row of columns."""
    found = np.zeros(len(columns[0]), np.uint64)
    for number, column in enumerate(columns):
        found = mixed(found ^ mixed(column, salt + number + 1), salt)
    return found


def mixed_lists(values: Hashes, offsets: Indices, salt: int = 0) -> Hashes:
    """One hash of each list, of its values in their order.

    Args:
        values: of all lists; ``offsets``: where each begins, and the end of the last.
    """
    counts = np.diff(offsets)
    place = np.arange(len(values)) - np.repeat(offsets[:-1], counts)
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum(mixed(values ^ mixed(place.astype(np.uint64), salt), salt))]
    )
    return mixed(sums[offsets[1:]] - sums[offsets[:-1]] ^ mixed(counts.astype(np.uint64), salt), salt)


def first_equal(one: Hashes, other: Hashes) -> Indices:
    """For each row the first one with the same two hashes."""
    order = np.argsort(one)
    one, other = one[order], other[order]
    runs = np.flatnonzero(np.concatenate([[True], one[1:] != one[:-1]]))[: len(order)]
    torn = np.flatnonzero((one[1:] == one[:-1]) & (other[1:] != other[:-1]))
    if len(torn):  # rows that are equal in the first hash alone: sorted by both
        again = np.lexsort((other, one))
        order, one, other = order[again], one[again], other[again]
        runs = np.flatnonzero(np.concatenate([[True], (one[1:] != one[:-1]) | (other[1:] != other[:-1])]))
    if not len(order):
        return order
    sizes = np.diff(np.append(runs, len(order)))
    first = np.empty(len(order), np.int64)
    first[order] = np.repeat(np.minimum.reduceat(order, runs), sizes)
    return first
