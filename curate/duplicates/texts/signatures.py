"""MinHash signatures of texts, and which texts they propose for comparison.

Memory holds 256 bytes a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.texts.shingles import Shingles

VERSION = ["rensa", metadata.version("rensa")]  # another one may give the same texts other signatures
_HASHES = 256  # of a signature
_RECALL = 0.995  # of pairs at the threshold
_SEED = 1
_BLOCK = 8192  # texts whose signatures are in memory as Python objects
# In a bucket, a text is compared with so many of the first and so many of those right before it: a bucket of
# thousands, which texts of one template fill, costs thousands of comparisons, not millions.
_NEIGHBOURS = 4
SLOTS = 2 * _NEIGHBOURS  # texts at most that a bucket proposes to a text
SKETCH = 128  # bytes of a signature that are compared before the shingles are
_ROWS_AT_ONCE = 1 << 14
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Signatures:
    """Of n texts.

    Attributes:
        buckets: uint32 (bands, n), the bucket of each text in each band.
        sketches: uint8 (n, 128).

    Buckets have 32 bits, and the hashes of a sketch 8: what is equal by chance is not confirmed.
    """

    buckets: NDArray[np.uint32]
    sketches: NDArray[np.uint8]

    @classmethod
    def none(cls, bands: int, count: int) -> Signatures:
        """Room for so many."""
        return cls(np.empty((bands, count), np.uint32), np.empty((count, SKETCH), np.uint8))


def bands_for(threshold: float) -> tuple[int, int]:
    """Number of bands and of hashes in each: the longest bands that propose enough of the pairs at the threshold."""
    for rows in range(_HASHES, 1, -1):
        bands = _HASHES // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _HASHES, 1


def signatures_of(shingles: Shingles, threshold: float) -> Signatures:
    """The signatures of texts that are compared at a threshold."""
    from rensa import RMinHash

    bands, rows = bands_for(threshold)
    made = Signatures.none(bands, len(shingles))
    weights = (np.arange(1, 2 * rows, 2, dtype=np.uint64) * _FACTOR) | np.uint64(1)
    for start in range(0, len(shingles), _BLOCK):
        starts = shingles.starts[start : start + _BLOCK + 1]
        values = np.asarray(shingles.values[starts[0] : starts[-1]]).view(np.uint64)
        offsets = (starts - starts[0]).tolist()
        signed = RMinHash.digest_matrix_from_flat_token_hashes(values, offsets, bands * rows, _SEED)
        signature = np.array(signed.to_rows(), np.uint64).reshape(len(offsets) - 1, bands, rows)
        mixed = (signature * weights).sum(axis=2, dtype=np.uint64)
        made.buckets[:, start : start + len(mixed)] = (mixed >> np.uint64(32)).T
        flat = signature.reshape(len(mixed), -1)[:, :SKETCH]
        made.sketches[start : start + len(mixed)] = flat & np.uint64(255)
    return made


def likely(sketches: NDArray[np.uint8], i: Indices, j: Indices, threshold: float) -> tuple[Indices, Indices]:
    """Pairs whose sketches do not contradict the threshold: no more than four standard errors below it."""
    least = threshold - 4 * (threshold * (1 - threshold) / SKETCH) ** 0.5
    found = np.concatenate([
        np.count_nonzero(sketches[i[at : at + _ROWS_AT_ONCE]] == sketches[j[at : at + _ROWS_AT_ONCE]], axis=1)
        >= least * SKETCH
        for at in range(0, max(len(i), 1), _ROWS_AT_ONCE)
    ])  # fmt: skip
    return i[found], j[found]


def neighbours(bucket: NDArray[np.uint32]) -> Iterator[tuple[Indices, Indices]]:
    """For each slot pairs i < j of one bucket: j with those right before it, then with the first texts of the bucket.

    Each j is there once in a slot.
    """
    packed = np.sort(bucket.astype(np.uint64) << np.uint64(32) | np.arange(len(bucket), dtype=np.uint64))
    same = np.diff(packed >> np.uint64(32)) == 0
    shared = np.append(same, False) | np.append([False], same)[: len(packed)]
    # What follows is about the texts that share their bucket.
    order = (packed[shared] & _LOW).astype(np.int64)
    new = np.append([True], ~same)[: len(packed)][shared]
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(new, place, 0))
    inside = place - first
    for back in range(1, _NEIGHBOURS + 1):
        at = np.flatnonzero(inside >= back)
        yield order[at - back], order[at]
    for ahead in range(_NEIGHBOURS):
        at = np.flatnonzero(inside - ahead > _NEIGHBOURS)
        yield order[first[at] + ahead], order[at]
