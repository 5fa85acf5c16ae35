"""What images look like: two perceptual hashes and a colour thumbnail; a hash proposes, the thumbnail confirms.

phash sees neither colour nor flat regions and misses some re-encoded copies; dhash misses others.
Two pictures are the same one when either hash lies within the radius and the 16×16 thumbnails differ
little, both on average and in every single cell: a re-encoded file changes all cells a little, another
picture some cells a lot. Measured on easy-vqa's 5,000 distinct drawings (12.5 million pairs) and 10,000
re-encoded (JPEG and WebP, quality 40-92) or resized (48-128 px) copies of them:

    phash within 4, nothing else                       96.2% of copies found, 9,855 distinct pairs called equal
    phash within 8, mean difference 4                  99.1%                  37
    either hash within 8, mean difference 4            99.8%                  79
    either hash within 8, mean 4, every cell 36        99.4%                   6  (the default)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Hashes, Indices, group_equal
from curate.duplicates.search import neighbours
from curate.recipe import MatchSettings
from curate.workspace import query_batches

CELLS, CHANNELS = 256, 3
_BLOCK = 8192  # pairs of thumbnails compared at once


@dataclass(frozen=True)
class Looks:
    """Images as arrays of one length n.

    Attributes:
        phash, dhash: uint64 (n,).
        thumbnails: uint8 (n, 768): 16×16 RGB; may be a memory map.
    """

    phash: Hashes
    dhash: Hashes
    thumbnails: NDArray[np.uint8]

    def hashes(self, settings: MatchSettings) -> list[Hashes]:
        """The hashes that propose."""
        chosen = {"phash": [self.phash], "dhash": [self.dhash], "both": [self.phash, self.dhash]}
        return chosen[settings.hash]


@dataclass(frozen=True)
class Difference:
    """How far pairs of images are apart, arrays of one length.

    Attributes:
        mean: mean absolute difference of the thumbnails, 0-255.
        cell: largest difference of one cell (mean of its channels), 0-255.
        bits: smallest Hamming distance of the proposing hashes.
    """

    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]

    def confirmed(self, settings: MatchSettings) -> NDArray[np.bool_]:
        """Which pairs are the same picture."""
        near = (self.mean <= settings.confirm) & (self.cell <= settings.confirm_cell)
        return near & (self.bits <= settings.radius)


def difference(a: Looks, i: Indices, b: Looks, j: Indices, settings: MatchSettings) -> Difference:
    """Compare images ``i`` of ``a`` with images ``j`` of ``b``, pair by pair."""
    mean, cell = np.empty(len(i)), np.empty(len(i))
    for start in range(0, len(i), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = a.thumbnails[i[block]], b.thumbnails[j[block]]
        apart = (np.maximum(left, right) - np.minimum(left, right)).reshape(-1, CELLS, CHANNELS)
        cells = apart[:, :, 0].astype(np.uint16) + apart[:, :, 1] + apart[:, :, 2]  # faster than sum(axis=2)
        mean[block] = cells.sum(axis=1, dtype=np.uint32) / (CELLS * CHANNELS)
        cell[block] = cells.max(axis=1, initial=0) / CHANNELS
    pairs = zip(a.hashes(settings), b.hashes(settings), strict=True)
    bits = np.min([np.bitwise_count(one[i] ^ other[j]) for one, other in pairs], axis=0)
    return Difference(mean, cell, bits.astype(np.int32))


def matches(a: Looks, b: Looks, settings: MatchSettings) -> Iterator[tuple[Indices, Indices, Difference]]:
    """Blocks of confirmed pairs (into ``a``, into ``b``), every pair once."""
    hashes = list(zip(a.hashes(settings), b.hashes(settings), strict=True))
    for number, (one, other) in enumerate(hashes):
        values_a, members_a = group_equal(one)
        values_b, members_b = group_equal(other)
        for left, right in neighbours(values_a, values_b, settings.radius, same=False):
            for i, j in members_a.product_blocks(members_b, left, right):
                for first, second in hashes[:number]:  # which has proposed this pair already
                    new = np.bitwise_count(first[i] ^ second[j]) > settings.radius
                    i, j = i[new], j[new]
                apart = difference(a, i, b, j, settings)
                same = apart.confirmed(settings)
                yield i[same], j[same], Difference(apart.mean[same], apart.cell[same], apart.bits[same])


def read_looks(connection: duckdb.DuckDBPyConnection, query: str, count: int, scratch: Path) -> Looks:
    """Fill a ``Looks`` from rows (rank, phash, dhash, thumbnail) with ranks 0 to count - 1 in any order.

    Args:
        scratch: where the thumbnails are kept as a memory map (768 bytes an image); delete it afterwards.
    """
    scratch.parent.mkdir(parents=True, exist_ok=True)
    phash, dhash = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    thumbnails = np.memmap(scratch, np.uint8, "w+", shape=(max(count, 1), CELLS * CHANNELS))[:count]
    for batch in query_batches(connection, query):
        rank = batch.column("rank").to_numpy()
        phash[rank], dhash[rank] = batch.column("phash").to_numpy(), batch.column("dhash").to_numpy()
        raw = b"".join(batch.column("thumbnail").to_pylist())
        thumbnails[rank] = np.frombuffer(raw, np.uint8).reshape(-1, CELLS * CHANNELS)
    return Looks(phash, dhash, thumbnails)
