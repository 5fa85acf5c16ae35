"""Distinct 64-bit hashes within a Hamming radius of each other: exact, in NumPy, without N×N work.

For each chunk of the plan and each mask of at most r_k bits, the hashes whose chunks differ by exactly
that mask are looked up in a table of buckets and compared in full (multi-index hashing: Norouzi,
Punjani, Fleet, PAMI 2014). A crowded pair of buckets is searched again by the bits outside of its
chunk, so that skewed hashes cost little more than random ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import BLOCK, Hashes, Indices, Pairs, blocks, products, starts_of
from curate.duplicates.plan import BITS, Chunk, plan

_TILE = 32, 4096  # hashes compared at once where all are compared with all
CROWDED = 1 << 18  # candidates in one pair of buckets above which it is searched again


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
        crowded = (size > CROWDED) & (chunk.width < bits)
        for k, m in zip(bucket_a[crowded].tolist(), bucket_b[crowded].tolist(), strict=True):
            rows_a, rows_b = in_a.rows(k), in_b.rows(m)
            rest_a, rest_b = chunk.without(a[rows_a]), chunk.without(b[rows_b])
            left = radius - mask.bit_count()
            for i, j in _search(rest_a, rest_b, left, bits - chunk.width, same and not mask):
                yield rows_a[i], rows_b[j]
        yield from _compare(in_a, in_b, bucket_a, bucket_b, np.where(crowded, 0, size), radius, same and not mask)


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
