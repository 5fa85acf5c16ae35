"""Groups of indices as two flat arrays, and products of them in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
Pairs = tuple[Indices, Indices]

BLOCK = 1 << 16  # pairs made at once; their arrays fit a cache


@dataclass(frozen=True)
class Groups:
    """Group g holds ``items[starts[g]:starts[g + 1]]``, ascending."""

    items: Indices
    starts: Indices

    def sizes(self, groups: Indices) -> Indices:
        """Number of items of each of these groups."""
        return self.starts[groups + 1] - self.starts[groups]

    def members(self, groups: Indices) -> Indices:
        """The items of these groups, one group after the other."""
        size = self.sizes(groups)
        return self.items[np.repeat(self.starts[groups], size) + ramp(size)]

    def product(self, other: Groups, left: Indices, right: Indices) -> Pairs:
        """Every (item of group left[k], item of other's group right[k]), for all k."""
        rows, columns = products(self.starts, left, other.starts, right)
        return self.items[rows], other.items[columns]

    def product_blocks(self, other: Groups, left: Indices, right: Indices) -> Iterator[Pairs]:
        """``product`` in blocks of bounded size, however large a group is."""
        size = self.sizes(left) * other.sizes(right)
        for k in np.flatnonzero(size > BLOCK):
            items = other.items[other.starts[right[k]] : other.starts[right[k] + 1]]
            for item in self.items[self.starts[left[k]] : self.starts[left[k] + 1]]:
                yield np.full(len(items), item), items
        small = size <= BLOCK
        for one, two in blocks(left[small], right[small], size[small]):
            yield self.product(other, one, two)

    def pairs_inside(self) -> Iterator[Pairs]:
        """Every pair (earlier, later) of items of one group, in blocks of bounded size."""
        later = np.repeat(self.starts[1:], np.diff(self.starts)) - np.arange(len(self.items)) - 1
        rows = np.flatnonzero(later)
        for chosen, count in blocks(rows, later[rows], later[rows]):
            yield self.items[np.repeat(chosen, count)], self.items[np.repeat(chosen + 1, count) + ramp(count)]


def group_equal(hashes: Hashes) -> tuple[Hashes, Groups]:
    """The distinct hashes, ascending, and the indices that hold each."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(hashes)])
    return ordered[first], Groups(order, np.append(first, len(hashes)))


def starts_of(counts: Indices) -> Indices:
    """Where each of consecutive groups of these sizes starts, and where the last one ends."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def products(starts_a: Indices, left: Indices, starts_b: Indices, right: Indices) -> Pairs:
    """Places of group left[k] × places of group right[k], for all k."""
    size_a, size_b = starts_a[left + 1] - starts_a[left], starts_b[right + 1] - starts_b[right]
    rows = np.repeat(starts_a[left], size_a) + ramp(size_a)
    per_row = np.repeat(size_b, size_a)
    columns = np.repeat(np.repeat(starts_b[right], size_a), per_row) + ramp(per_row)
    return np.repeat(rows, per_row), columns


def blocks(left: Indices, right: Indices, size: Indices) -> Iterator[Pairs]:
    """Both arrays cut in the same places, so that a block has about ``BLOCK`` of ``size`` in sum."""
    ends = np.cumsum(size)
    cuts = np.searchsorted(ends, np.arange(BLOCK, int(ends[-1]) if len(ends) else 0, BLOCK))
    return zip(np.split(left, cuts), np.split(right, cuts), strict=True)


def ramp(sizes: Indices) -> Indices:
    """0 … size-1 for each size, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - sizes, sizes)
