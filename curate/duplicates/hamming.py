"""All pairs of 64-bit hashes within a Hamming radius: exact, in NumPy, without comparing all with all.

Multi-index hashing (Norouzi, Punjani, Fleet, PAMI 2014). By the pigeonhole principle: cut the hash into chunks and
give chunk k a radius r_k so that sum(r_k + 1) = radius + 1. Two hashes within the radius are then within r_k of each
other in at least one chunk k: otherwise they would be at least radius + 1 apart. For each chunk and each mask of at
most r_k bits, the hashes whose chunks differ by exactly that mask are looked up in a table of buckets and compared
in full. Few long chunks beat radius + 1 short ones, because buckets stay small; ``plan`` picks the cheapest chunks.

A dense pair of buckets is searched again by the bits outside of its chunk, so that skewed hashes cost little more
than random ones. Groups of equal hashes are two flat arrays, and products of groups come in blocks of bounded size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

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
        sizes: Indices = self.starts[groups + 1] - self.starts[groups]
        return sizes

    def members(self, groups: Indices) -> Indices:
        """The items of these groups, one group after the other."""
        size = self.sizes(groups)
        members: Indices = self.items[np.repeat(self.starts[groups], size) + ramp(size)]
        return members

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
        for some_left, some_right in blocks(left[small], right[small], size[small]):
            yield self.product(other, some_left, some_right)

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
    """Both arrays in blocks, cut at the same positions, so that the ``size`` of a block adds up to about ``BLOCK``."""
    ends = np.cumsum(size)
    cuts = np.searchsorted(ends, np.arange(BLOCK, int(ends[-1]) if len(ends) else 0, BLOCK))
    return zip(np.split(left, cuts), np.split(right, cuts), strict=True)


def ramp(sizes: Indices) -> Indices:
    """0 … size-1 for each size, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - sizes, sizes)


BITS = 64
TABLE_BITS = 22  # longest chunk: its table has 4M buckets
# Nanoseconds, measured on one core: look a bucket up, compare one candidate, one cell of brute
# force, build one entry of a table, sort one hash into it; and what a mask costs whatever the number of hashes.
LOOKUP, COMPARE, CELL, ENTRY, SORT, MASK = 6.0, 40.0, 0.8, 4.0, 150.0, 60_000.0


@dataclass(frozen=True)
class Chunk:
    """Bits ``shift`` to ``shift + width`` of a hash, sought within ``radius`` of each other."""

    shift: int
    width: int
    radius: int

    def of(self, values: Hashes) -> NDArray[np.int64]:
        """These bits as a number."""
        return ((values >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)).view(np.int64)

    def without(self, values: Hashes) -> Hashes:
        """The bits outside of this chunk, moved together."""
        low = values & np.uint64((1 << self.shift) - 1)
        above = self.shift + self.width
        return low | (values >> np.uint64(above)) << np.uint64(self.shift) if above < BITS else low

    def masks(self) -> Iterator[int]:
        """Every way in which two chunks may differ, those of fewer bits first."""
        for count in range(min(self.radius, self.width) + 1):
            for places in itertools.combinations(range(self.width), count):
                yield sum(1 << place for place in places)


@lru_cache(maxsize=4096)
def plan(log_a: int, log_b: int, radius: int, bits: int) -> tuple[Chunk, ...]:
    """The cheapest chunks for about 2^log_a by 2^log_b hashes of ``bits`` bits; an empty tuple means brute force."""
    rows, columns = 2.0**log_a, 2.0**log_b
    best: tuple[Chunk, ...] = ()
    best_cost = rows * columns * CELL
    for count in range(1, max(radius + 1, 4) + 1):
        widths = [bits // count + (k < bits % count) for k in range(count)]
        radii = [(radius + 1) // count + (k < (radius + 1) % count) - 1 for k in range(count)]
        if widths[0] > TABLE_BITS or widths[-1] == 0:
            continue
        shifts = [sum(widths[:k]) for k in range(count)]
        chunks = tuple(Chunk(s, w, r) for s, w, r in zip(shifts, widths, radii, strict=True) if r >= 0)
        if (cost := sum(_cost(chunk, rows, columns) for chunk in chunks)) < best_cost:
            best, best_cost = chunks, cost
    return best


def _cost(chunk: Chunk, rows: float, columns: float) -> float:
    masks = sum(math.comb(chunk.width, k) for k in range(min(chunk.radius, chunk.width) + 1))
    buckets = 2.0**chunk.width
    per_mask = MASK + LOOKUP * min(rows, buckets) + COMPARE * rows * columns / buckets
    return masks * per_mask + ENTRY * buckets + SORT * (rows + columns)


_TILE = 32, 4096  # hashes compared at once where all are compared with all
DENSE = 1 << 18  # candidates in one pair of buckets above which it is searched again


@dataclass(frozen=True)
class _Buckets:
    """Hashes sorted by a chunk. Bucket k, of chunk value k, has ``counts[k]`` of them from ``starts[k]`` on."""

    order: Indices
    values: Hashes
    counts: NDArray[np.int32]
    starts: Indices

    def rows(self, bucket: int) -> Indices:
        """Which hashes a bucket holds."""
        return self.order[self.starts[bucket] : self.starts[bucket + 1]]


def neighbours(a: Hashes, b: Hashes, radius: int, *, same: bool) -> Iterator[Pairs]:
    """Blocks of index pairs (into ``a``, into ``b``) within ``radius``; every pair exactly once.

    Args:
        a, b: distinct hashes.
        same: ``a`` is ``b``: each unordered pair of different indices comes in one direction only.
    """
    return _search(a, b, radius, BITS, same)


def _search(a: Hashes, b: Hashes, radius: int, bits: int, same: bool) -> Iterator[Pairs]:
    if not len(a) or not len(b):
        return
    chunks = plan(len(a).bit_length(), len(b).bit_length(), radius, bits)
    if not chunks:
        yield from _brute_force(a, b, radius, same)
    for number, chunk in enumerate(chunks):
        for i, j in _search_chunk(a, b, radius, bits, same, chunk):
            new = np.ones(len(i), bool)
            for earlier in chunks[:number]:  # which has found this pair already
                new &= np.bitwise_count(earlier.of(a[i]) ^ earlier.of(b[j])) > earlier.radius
            yield i[new], j[new]


def _search_chunk(a: Hashes, b: Hashes, radius: int, bits: int, same: bool, chunk: Chunk) -> Iterator[Pairs]:
    """Pairs within ``radius`` whose chunks are within the chunk's own radius."""
    in_a = _buckets(a, chunk)
    in_b = in_a if same else _buckets(b, chunk)
    used = np.flatnonzero(in_a.counts)
    visited, highest = used, 0
    for mask in sorted(chunk.masks(), key=int.bit_length):
        if same and mask.bit_length() != highest:  # a pair of buckets is visited from the one without the highest bit
            highest = mask.bit_length()
            visited = used[used & (1 << (highest - 1)) == 0]
        count_b = in_b.counts[visited ^ mask]
        hit = np.flatnonzero(count_b)
        bucket_a = visited[hit]
        bucket_b = bucket_a ^ mask
        size = in_a.counts[bucket_a].astype(np.int64) * count_b[hit]
        if same and not mask:  # a bucket of one has no pair in itself
            several = size > 1
            bucket_a, bucket_b, size = bucket_a[several], bucket_b[several], size[several]
        dense = (size > DENSE) & (chunk.width < bits)
        for k, m in zip(bucket_a[dense].tolist(), bucket_b[dense].tolist(), strict=True):
            rows_a, rows_b = in_a.rows(k), in_b.rows(m)
            rest_a, rest_b = chunk.without(a[rows_a]), chunk.without(b[rows_b])
            left = radius - mask.bit_count()
            for i, j in _search(rest_a, rest_b, left, bits - chunk.width, same and not mask):
                yield rows_a[i], rows_b[j]
        yield from _compare(in_a, in_b, bucket_a, bucket_b, np.where(dense, 0, size), radius, same and not mask)


def _compare(
    in_a: _Buckets, in_b: _Buckets, bucket_a: Indices, bucket_b: Indices, size: Indices, radius: int, same: bool
) -> Iterator[Pairs]:
    single = np.flatnonzero(size == 1)  # most are: one comparison instead of a product
    for start in range(0, len(single), BLOCK):
        block = single[start : start + BLOCK]
        yield _near(in_a, in_b, in_a.starts[bucket_a[block]], in_b.starts[bucket_b[block]], radius)
    more = np.flatnonzero(size > 1)
    for left, right in blocks(bucket_a[more], bucket_b[more], size[more]):
        i, j = products(in_a.starts, left, in_b.starts, right)
        if same:
            i, j = i[i < j], j[i < j]
        yield _near(in_a, in_b, i, j, radius)


def _near(in_a: _Buckets, in_b: _Buckets, i: Indices, j: Indices, radius: int) -> Pairs:
    """Of places in the sorted hashes those within ``radius``, as indices."""
    near = np.flatnonzero(np.bitwise_count(in_a.values[i] ^ in_b.values[j]) <= radius)
    return in_a.order[i[near]], in_b.order[j[near]]


def _brute_force(a: Hashes, b: Hashes, radius: int, same: bool) -> Iterator[Pairs]:
    """Tile by tile, so that what is computed stays in the cache."""
    height, width = _TILE
    differing, bits = np.empty(_TILE, np.uint64), np.empty(_TILE, np.uint8)
    rows: list[Indices] = []
    columns: list[Indices] = []
    held = 0
    for top in range(0, len(a), height):
        one = a[top : top + height, None]
        for left in range(top - top % width if same else 0, len(b), width):
            other = b[None, left : left + width]
            tile = np.s_[: len(one), : other.shape[1]]
            np.bitwise_xor(one, other, out=differing[tile])
            near = np.flatnonzero(np.bitwise_count(differing[tile], out=bits[tile]) <= radius)
            if len(near):
                i, j = np.divmod(near, other.shape[1])
                rows.append(i + top)
                columns.append(j + left)
                held += len(near)
            if held >= BLOCK:
                yield _upper(np.concatenate(rows), np.concatenate(columns), same)
                rows, columns, held = [], [], 0
    if held:
        yield _upper(np.concatenate(rows), np.concatenate(columns), same)


def _upper(i: Indices, j: Indices, same: bool) -> Pairs:
    """Of pairs of one set with itself those in one direction."""
    return (i[i < j], j[i < j]) if same else (i, j)


def _buckets(values: Hashes, chunk: Chunk) -> _Buckets:
    keys = chunk.of(values)
    order = np.argsort(keys)  # in any order within a bucket
    counts = np.bincount(keys, minlength=1 << chunk.width)
    return _Buckets(order, values[order], counts.astype(np.int32), starts_of(counts))


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
    """Sorted pairs, held as one number each (row × columns + column): half the memory of two."""
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
