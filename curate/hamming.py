"""All pairs of 64-bit hashes within a Hamming radius: exact, in NumPy, without N×N work.

Pigeonhole: cut the hash into chunks and give chunk k a radius r_k so that sum(r_k + 1) = radius + 1.
A pair within the radius then lies within r_k in at least one chunk k: otherwise it would be at
least radius + 1 apart. For each chunk and each mask of at most r_k bits, the hashes whose chunks
differ by exactly that mask are looked up in a table of buckets and compared in full (multi-index
hashing: Norouzi, Punjani, Fleet, PAMI 2014). Few long chunks beat radius + 1 short ones, because
buckets stay small. A crowded pair of buckets is searched again by the bits outside of its chunk,
so that skewed hashes cost little more than random ones.
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

_BITS = 64
_MAX_RADIUS = 16
_TABLE_BITS = 22  # longest chunk: its table has 4M buckets
_BLOCK = 1 << 16  # candidate pairs compared at once; fits a cache
_CROWDED = 1 << 18  # candidates in one pair of buckets above which it is searched again
# Nanoseconds, measured on one core: look a bucket up, compare one candidate, one cell of brute
# force, build one entry of a table; and what a mask costs whatever the number of hashes.
_LOOKUP, _COMPARE, _CELL, _ENTRY, _MASK = 6.0, 40.0, 1.5, 4.0, 60_000.0


@dataclass(frozen=True)
class _Chunk:
    shift: int
    width: int
    radius: int

    def of(self, values: Hashes) -> NDArray[np.int64]:
        return ((values >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)).astype(np.int64)

    def without(self, values: Hashes) -> Hashes:
        """The bits outside of this chunk, moved together."""
        low = values & np.uint64((1 << self.shift) - 1)
        above = self.shift + self.width
        return low | (values >> np.uint64(above)) << np.uint64(self.shift) if above < _BITS else low


@dataclass(frozen=True)
class _Buckets:
    """Hashes sorted by a chunk. ``starts[k]`` to ``starts[k + 1]`` is the bucket of chunk value k."""

    order: Indices
    values: Hashes
    used: Indices
    starts: Indices


def pairs_within(hashes: Hashes, radius: int) -> Indices:
    """Every pair of indices i < j whose hashes differ in at most ``radius`` bits.

    Args:
        hashes: shape (n,), dtype uint64.
        radius: 0 to 16.

    Returns:
        int64 array of shape (m, 2) in lexicographic order. Equal hashes are pairs as well: k equal
        ones give k(k-1)/2 rows.

    Raises:
        ValueError: another radius, dtype or shape.
    """
    _check(hashes, radius)
    values, members = group_equal(hashes)
    left, right = _joined(neighbours(values, values, radius, same=True))
    here = np.arange(len(values))
    near_i, near_j = members.product(members, left, right)
    same_i, same_j = members.product(members, here, here)
    ordered = same_i < same_j
    first = np.concatenate([np.minimum(near_i, near_j), same_i[ordered]])
    second = np.concatenate([np.maximum(near_i, near_j), same_j[ordered]])
    return _lexicographic(first, second)


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
    left, right = _joined(neighbours(values_a, values_b, radius, same=False))
    return _lexicographic(*members_a.product(members_b, left, right))


@dataclass(frozen=True)
class Groups:
    """Group g holds ``items[starts[g]:starts[g + 1]]``, ascending."""

    items: Indices
    starts: Indices

    def product(self, other: Groups, left: Indices, right: Indices) -> Pairs:
        """Every (item of group left[k], item of other's group right[k]), for all k."""
        return _products(self.items, self.starts, left, other.items, other.starts, right)

    def product_blocks(self, other: Groups, left: Indices, right: Indices) -> Iterator[Pairs]:
        """``product`` in blocks of bounded size, however large a group is."""
        size = _sizes(self.starts, left) * _sizes(other.starts, right)
        for k in np.flatnonzero(size > _BLOCK):
            items = other.items[other.starts[right[k]] : other.starts[right[k] + 1]]
            for item in self.items[self.starts[left[k]] : self.starts[left[k] + 1]]:
                yield np.full(len(items), item), items
        small = size <= _BLOCK
        for one, two in _blocks(left[small], right[small], size[small]):
            yield self.product(other, one, two)


def group_equal(hashes: Hashes) -> tuple[Hashes, Groups]:
    """The distinct hashes, ascending, and the indices that hold each."""
    values, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return values, Groups(np.argsort(inverse, kind="stable"), _starts(counts))


def neighbours(a: Hashes, b: Hashes, radius: int, *, same: bool) -> Iterator[Pairs]:
    """Blocks of index pairs (into ``a``, into ``b``) within ``radius``; every pair exactly once.

    Args:
        a, b: distinct hashes.
        same: ``a`` is ``b``: each unordered pair of different indices comes in one direction only.
    """
    return _search(a, b, radius, _BITS, same)


def _search(a: Hashes, b: Hashes, radius: int, bits: int, same: bool) -> Iterator[Pairs]:
    if not len(a) or not len(b):
        return
    plan = _plan(len(a).bit_length(), len(b).bit_length(), radius, bits)
    if not plan:
        yield from _brute_force(a, b, radius, same)
    for number, chunk in enumerate(plan):
        for i, j in _search_chunk(a, b, radius, bits, same, chunk):
            new = np.ones(len(i), bool)
            for earlier in plan[:number]:  # which has found this pair already
                new &= np.bitwise_count(earlier.of(a[i]) ^ earlier.of(b[j])) > earlier.radius
            yield i[new], j[new]


def _search_chunk(a: Hashes, b: Hashes, radius: int, bits: int, same: bool, chunk: _Chunk) -> Iterator[Pairs]:
    """Pairs within ``radius`` whose chunks are within the chunk's own radius."""
    in_a = _buckets(a, chunk)
    in_b = in_a if same else _buckets(b, chunk)
    occupied = in_b.starts[1:] > in_b.starts[:-1]
    for mask in _masks(chunk.width, chunk.radius):
        bucket_a = in_a.used
        if same and mask:  # a pair of buckets is visited from the one that lacks the highest bit
            bucket_a = bucket_a[bucket_a & (1 << (mask.bit_length() - 1)) == 0]
        bucket_b = bucket_a ^ mask
        hit = occupied[bucket_b]
        bucket_a, bucket_b = bucket_a[hit], bucket_b[hit]
        size = _sizes(in_a.starts, bucket_a) * _sizes(in_b.starts, bucket_b)
        crowded = (size > _CROWDED) & (chunk.width < bits)
        for k, m in zip(bucket_a[crowded], bucket_b[crowded], strict=True):
            rows_a = in_a.order[in_a.starts[k] : in_a.starts[k + 1]]
            rows_b = in_b.order[in_b.starts[m] : in_b.starts[m + 1]]
            rest_a, rest_b = chunk.without(a[rows_a]), chunk.without(b[rows_b])
            left = radius - mask.bit_count()
            for i, j in _search(rest_a, rest_b, left, bits - chunk.width, same and not mask):
                yield rows_a[i], rows_b[j]
        yield from _compare(
            in_a, in_b, bucket_a[~crowded], bucket_b[~crowded], size[~crowded], radius, same and not mask
        )


def _compare(
    in_a: _Buckets, in_b: _Buckets, bucket_a: Indices, bucket_b: Indices, size: Indices, radius: int, same: bool
) -> Iterator[Pairs]:
    place = np.arange(len(in_a.order)), np.arange(len(in_b.order))
    for left, right in _blocks(bucket_a, bucket_b, size):
        i, j = _products(place[0], in_a.starts, left, place[1], in_b.starts, right)
        near = np.bitwise_count(in_a.values[i] ^ in_b.values[j]) <= radius
        if same:
            near &= i < j
        yield in_a.order[i[near]], in_b.order[j[near]]


def _blocks(left: Indices, right: Indices, size: Indices) -> Iterator[Pairs]:
    """Both arrays cut in the same places, so that a block has about ``_BLOCK`` of ``size`` in sum."""
    ends = np.cumsum(size)
    cuts = np.searchsorted(ends, np.arange(_BLOCK, int(ends[-1]) if len(ends) else 0, _BLOCK))
    return zip(np.split(left, cuts), np.split(right, cuts), strict=True)


def _brute_force(a: Hashes, b: Hashes, radius: int, same: bool) -> Iterator[Pairs]:
    step = max(1, _BLOCK // len(b))
    for start in range(0, len(a), step):
        first = start if same else 0
        near = np.bitwise_count(a[start : start + step, None] ^ b[None, first:]) <= radius
        i, j = np.nonzero(np.triu(near, 1) if same else near)
        yield i + start, j + first


@lru_cache(maxsize=4096)
def _plan(log_a: int, log_b: int, radius: int, bits: int) -> tuple[_Chunk, ...]:
    """The cheapest chunks for about 2^log_a by 2^log_b hashes; none means brute force."""
    rows, columns = 2.0**log_a, 2.0**log_b
    best: tuple[_Chunk, ...] = ()
    best_cost = rows * columns * _CELL
    for count in range(1, max(radius + 1, 4) + 1):
        widths = [bits // count + (k < bits % count) for k in range(count)]
        radii = [(radius + 1) // count + (k < (radius + 1) % count) - 1 for k in range(count)]
        if widths[0] > _TABLE_BITS or widths[-1] == 0:
            continue
        shifts = [sum(widths[:k]) for k in range(count)]
        chunks = tuple(_Chunk(s, w, r) for s, w, r in zip(shifts, widths, radii, strict=True) if r >= 0)
        if (cost := sum(_cost(chunk, rows, columns) for chunk in chunks)) < best_cost:
            best, best_cost = chunks, cost
    return best


def _cost(chunk: _Chunk, rows: float, columns: float) -> float:
    masks = sum(math.comb(chunk.width, k) for k in range(min(chunk.radius, chunk.width) + 1))
    buckets = 2.0**chunk.width
    per_mask = _MASK + _LOOKUP * min(rows, buckets) + _COMPARE * rows * columns / buckets
    return masks * per_mask + _ENTRY * buckets


def _masks(width: int, radius: int) -> Iterator[int]:
    for count in range(min(radius, width) + 1):
        for places in itertools.combinations(range(width), count):
            yield sum(1 << place for place in places)


def _buckets(values: Hashes, chunk: _Chunk) -> _Buckets:
    keys = chunk.of(values)
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=1 << chunk.width)
    return _Buckets(order, values[order], np.flatnonzero(counts), _starts(counts))


def _starts(counts: Indices) -> Indices:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _sizes(starts: Indices, groups: Indices) -> Indices:
    return starts[groups + 1] - starts[groups]


def _products(
    items_a: Indices, starts_a: Indices, left: Indices, items_b: Indices, starts_b: Indices, right: Indices
) -> Pairs:
    """Items of group left[k] × items of group right[k], for all k."""
    size_a, size_b = _sizes(starts_a, left), _sizes(starts_b, right)
    rows = np.repeat(starts_a[left], size_a) + _ramp(size_a)
    per_row = np.repeat(size_b, size_a)
    columns = np.repeat(np.repeat(starts_b[right], size_a), per_row) + _ramp(per_row)
    return items_a[np.repeat(rows, per_row)], items_b[columns]


def _ramp(sizes: Indices) -> Indices:
    """0 … size-1 for each size, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - sizes, sizes)


def _joined(blocks: Iterator[Pairs]) -> Pairs:
    pairs = list(blocks)
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *(i for i, _ in pairs)]), np.concatenate([empty, *(j for _, j in pairs)])


def _lexicographic(first: Indices, second: Indices) -> Indices:
    order = np.lexsort((second, first))
    return np.stack([first[order], second[order]], axis=1).astype(np.int64, copy=False)


def _check(hashes: Hashes, radius: int) -> None:
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ValueError(f"hashes must be a one-dimensional uint64 array, not {hashes.dtype} of shape {hashes.shape}")
    if not 0 <= radius <= _MAX_RADIUS:
        raise ValueError(f"radius must be 0 to {_MAX_RADIUS}, not {radius}")
