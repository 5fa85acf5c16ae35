"""Image fingerprints: two perceptual hashes and a colour thumbnail. A hash proposes a pair, the thumbnail confirms it.

phash sees neither colour nor flat regions and misses some re-encoded copies; dhash misses others.
Two images are the same one when either hash lies within the radius and the 16×16 thumbnails differ
little, both on average and in every single cell: a re-encoded file changes all cells a little, another
image some cells a lot. How much a cell may differ depends on the size of the image and on its
contrast, because pages that share a layout, and forms that are filled in differently, have nearly the
same hashes and differ in few pale cells.

Measured by ``benchmarks/curves_duplicates.py`` on 80 images of each kind, 560 copies of them stored
again (JPEG, WebP, resized) and about 3,100 pairs of different ones: copies found / different pairs joined.

                                               photographs     drawings        pages         forms
    either hash within 8, nothing else         100.0% / 1      99.8% / 24      100% / 77     100% / 2,648
    phash within 8, all thresholds              98.8% / 0      94.1% / 0       100% / 0      100% / 0
    either within 8, mean 4                    100.0% / 0      97.3% / 0       100% / 77     100% / 2,648
    either within 8, mean 4, cell 36           100.0% / 0      95.4% / 0       100% / 76     100% / 2,648
    the same with contrast 1                   100.0% / 0      95.4% / 0       100% / 4      100% / 2
    the same with contrast 0.5 (the default)   100.0% / 0      95.4% / 0       100% / 0      100% / 0

The drawings have 64 pixels; what is not found of them is mostly JPEG of 32 pixels. To the defaults, images that
were edited (a watermark, cropped, turned, brighter by a tenth) are other images: raise ``max_cell_diff`` and
``max_contrast_diff`` to join them too, on photographs.

On easy-vqa's 5,000 distinct drawings (12.5 million pairs) and 10,000 copies of them (JPEG and WebP of quality
40-92, 48-128 pixels) the defaults find 99.4% and join 6 pairs; phash within 4 alone finds 96.2% and joins 9,855.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Hashes, Indices, group_equal, neighbours
from curate.settings.copies import MatchSettings
from winnow.parquet.tables import query_batches

CELLS, CHANNELS = 256, 3


_BLOCK = 8192  # pairs of thumbnails compared at once


_SMALL = 64  # side in pixels up to which ``max_cell_diff`` holds unscaled: a cell is 4 × 4 pixels there


_NOISE = 8.0  # difference of one cell that compression alone can make in any image


@dataclass(frozen=True)
class ImageFingerprints:
    """Fingerprints of n images, as arrays of length n; made by ``of`` or ``read_fingerprints``.

    Attributes:
        phash, dhash: uint64 (n,).
        thumbnails: uint8 (n, 768): 16×16 RGB; may be a memory map.
        sides: float32 (n,), the shorter side of the image in pixels.
        colors: float32 (n, 3), mean of the thumbnail.
        contrast: float32 (n,), standard deviation of the thumbnail over its cells, averaged over the channels.
    """

    phash: Hashes
    dhash: Hashes
    thumbnails: NDArray[np.uint8]
    sides: NDArray[np.float32]
    colors: NDArray[np.float32]
    contrast: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.phash)

    @classmethod
    def of(cls, phash: Hashes, dhash: Hashes, thumbnails: NDArray[np.uint8], sides: NDArray[Any]) -> ImageFingerprints:
        """Derive mean colours and contrast from the thumbnails."""
        return cls(phash, dhash, thumbnails, sides.astype(np.float32), *moments(thumbnails))

    def hashes(self, settings: MatchSettings) -> list[Hashes]:
        """The hashes that propose."""
        chosen = {"phash": [self.phash], "dhash": [self.dhash], "both": [self.phash, self.dhash]}
        return chosen[settings.hash]


@dataclass(frozen=True)
class PairDifference:
    """How much the images of each pair differ, arrays of one length.

    Attributes:
        mean: mean absolute difference of the thumbnails, 0-255.
        cell: largest difference of one cell (mean of its channels), 0-255.
        bits: smallest Hamming distance of the proposing hashes.
        similar: whether mean and cell are small enough to be the same image.
    """

    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]
    similar: NDArray[np.bool_]

    def confirmed(self, settings: MatchSettings) -> NDArray[np.bool_]:
        """Which pairs are the same image."""
        return self.similar & (self.bits <= settings.radius)

    def of(self, chosen: NDArray[Any]) -> PairDifference:
        """Some of the pairs."""
        return PairDifference(self.mean[chosen], self.cell[chosen], self.bits[chosen], self.similar[chosen])


def compare(
    a: ImageFingerprints, i: Indices, b: ImageFingerprints, j: Indices, settings: MatchSettings
) -> PairDifference:
    """Compare images ``i`` of ``a`` with images ``j`` of ``b``, pair by pair."""
    mean, cell = np.empty(len(i)), np.empty(len(i))
    for start in range(0, len(i), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = a.thumbnails[i[block]], b.thumbnails[j[block]]
        differing = (np.maximum(left, right) - np.minimum(left, right)).reshape(-1, CELLS, CHANNELS)
        cells = (
            differing[:, :, 0].astype(np.uint16) + differing[:, :, 1] + differing[:, :, 2]
        )  # faster than sum(axis=2)
        mean[block] = cells.sum(axis=1, dtype=np.uint32) / (CELLS * CHANNELS)
        cell[block] = cells.max(axis=1, initial=0) / CHANNELS
    pairs = zip(a.hashes(settings), b.hashes(settings), strict=True)
    bits = np.min([np.bitwise_count(left[i] ^ right[j]) for left, right in pairs], axis=0)
    similar = (mean <= settings.max_mean_diff) & (cell <= _largest_cell(a, i, b, j, settings))
    return PairDifference(mean, cell, bits.astype(np.int32), similar)


def _largest_cell(
    a: ImageFingerprints, i: Indices, b: ImageFingerprints, j: Indices, settings: MatchSettings
) -> NDArray[np.float32]:
    """How much one cell may differ, pair by pair: see ``MatchSettings``."""
    by_contrast = np.minimum(a.contrast[i], b.contrast[j]) * np.float32(settings.max_contrast_diff)
    by_size = np.float32(settings.max_cell_diff * _SMALL) / np.maximum(np.minimum(a.sides[i], b.sides[j]), 1)
    return np.clip(np.maximum(by_contrast, by_size), min(_NOISE, settings.max_cell_diff), settings.max_cell_diff)


def matching_pairs(
    a: ImageFingerprints, b: ImageFingerprints, settings: MatchSettings
) -> Iterator[tuple[Indices, Indices, PairDifference]]:
    """Blocks of confirmed pairs (into ``a``, into ``b``), every pair once."""
    hashes = list(zip(a.hashes(settings), b.hashes(settings), strict=True))
    for number, (one, other) in enumerate(hashes):
        values_a, members_a = group_equal(one)
        values_b, members_b = group_equal(other)
        for left, right in neighbours(values_a, values_b, settings.radius, same=False):
            for i, j in members_a.product_blocks(members_b, left, right):
                for first, second in hashes[:number]:  # a pair that an earlier hash has proposed already
                    new = np.bitwise_count(first[i] ^ second[j]) > settings.radius
                    i, j = i[new], j[new]
                differences = compare(a, i, b, j, settings)
                same = differences.confirmed(settings)
                yield i[same], j[same], differences.of(same)


def read_fingerprints(
    connection: duckdb.DuckDBPyConnection, query: str, count: int, scratch: Path
) -> ImageFingerprints:
    """Fingerprints from rows (rank, phash, dhash, thumbnail, width, height), ranks 0 to count - 1 in any order.

    Args:
        scratch: where the thumbnails are kept as a memory map (768 bytes an image); delete it afterwards.
    """
    scratch.parent.mkdir(parents=True, exist_ok=True)
    phash, dhash, sides = np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, np.float32)
    colors, contrast = np.zeros((count, CHANNELS), np.float32), np.zeros(count, np.float32)
    thumbnails = np.memmap(scratch, np.uint8, "w+", shape=(max(count, 1), CELLS * CHANNELS))[:count]
    for batch in query_batches(connection, query):
        rank = batch.column("rank").to_numpy()
        phash[rank], dhash[rank] = batch.column("phash").to_numpy(), batch.column("dhash").to_numpy()
        sides[rank] = np.minimum(batch.column("width").to_numpy(), batch.column("height").to_numpy())
        raw = b"".join(batch.column("thumbnail").to_pylist())
        thumbnails[rank] = made = np.frombuffer(raw, np.uint8).reshape(-1, CELLS * CHANNELS)
        colors[rank], contrast[rank] = moments(made)
    return ImageFingerprints(phash, dhash, thumbnails, sides, colors, contrast)


def moments(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation over the cells; the latter averaged over the channels."""
    mean, spread = np.empty((len(thumbnails), CHANNELS), np.float32), np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        cells = thumbnails[start : start + _BLOCK].reshape(-1, CELLS, CHANNELS).astype(np.float32)
        average = cells.sum(axis=1) / CELLS
        square = np.einsum("ncr,ncr->nr", cells, cells) / CELLS
        mean[start : start + _BLOCK] = average
        spread[start : start + _BLOCK] = np.sqrt(np.maximum(square - average**2, 0)).mean(axis=1)
    return mean, spread
