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

from curate.duplicates.groups import BLOCK, Hashes, Indices, Pairs, blocks, products, starts_of
from curate.duplicates.plan import BITS, Chunk, plan

CROWDED = 1 << 18  # candidates in one pair of buckets above which it is searched again


@dataclass(frozen=True)
class _Buckets:
    """Hashes sorted by a chunk. ``starts[k]`` to ``starts[k + 1]`` is the bucket of chunk value k."""

    order: Indices
    values: Hashes
    used: Indices
    starts: Indices


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
    occupied = in_b.starts[1:] > in_b.starts[:-1]
    for mask in chunk.masks():
        bucket_a = in_a.used
        if same and mask:  # a pair of buckets is visited from the one that lacks the highest bit
            bucket_a = bucket_a[bucket_a & (1 << (mask.bit_length() - 1)) == 0]
        bucket_b = bucket_a ^ mask
        hit = occupied[bucket_b]
        bucket_a, bucket_b = bucket_a[hit], bucket_b[hit]
        size = _sizes(in_a, bucket_a) * _sizes(in_b, bucket_b)
        crowded = (size > CROWDED) & (chunk.width < bits)
        for k, m in zip(bucket_a[crowded], bucket_b[crowded], strict=True):
            rows_a = in_a.order[in_a.starts[k] : in_a.starts[k + 1]]
            rows_b = in_b.order[in_b.starts[m] : in_b.starts[m + 1]]
            rest_a, rest_b = chunk.without(a[rows_a]), chunk.without(b[rows_b])
            left = radius - mask.bit_count()
            for i, j in _search(rest_a, rest_b, left, bits - chunk.width, same and not mask):
                yield rows_a[i], rows_b[j]
        alone = ~crowded
        yield from _compare(in_a, in_b, bucket_a[alone], bucket_b[alone], size[alone], radius, same and not mask)


def _compare(
    in_a: _Buckets, in_b: _Buckets, bucket_a: Indices, bucket_b: Indices, size: Indices, radius: int, same: bool
) -> Iterator[Pairs]:
    for left, right in blocks(bucket_a, bucket_b, size):
        i, j = products(in_a.starts, left, in_b.starts, right)
        near = np.flatnonzero(np.bitwise_count(in_a.values[i] ^ in_b.values[j]) <= radius)
        i, j = i[near], j[near]
        if same:
            i, j = i[i < j], j[i < j]
        yield in_a.order[i], in_b.order[j]


def _brute_force(a: Hashes, b: Hashes, radius: int, same: bool) -> Iterator[Pairs]:
    step = max(1, BLOCK // len(b))
    for start in range(0, len(a), step):
        first = start if same else 0
        near = np.bitwise_count(a[start : start + step, None] ^ b[None, first:]) <= radius
        i, j = np.nonzero(np.triu(near, 1) if same else near)
        yield i + start, j + first


def _buckets(values: Hashes, chunk: Chunk) -> _Buckets:
    keys = chunk.of(values)
    order = np.argsort(keys)  # in any order within a bucket
    counts = np.bincount(keys, minlength=1 << chunk.width)
    return _Buckets(order, values[order], np.flatnonzero(counts), starts_of(counts))


def _sizes(buckets: _Buckets, chosen: Indices) -> Indices:
    return buckets.starts[chosen + 1] - buckets.starts[chosen]
