"""What near-duplicate search compares: perceptual hashes, which propose a pair, and a thumbnail, which confirms it.

The hashes equal the ``imagehash`` library's, as unsigned 64-bit integers.
"""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from curate.signals.base import Pixels, Signal, words_of
from curate.signals.reduction import LANCZOS, reduced, rows_first

_PHASH, _DHASH = (32, 32), (9, 8)


def hashes(pixels: Pixels) -> dict[str, int]:
    """``phash`` and ``dhash``, the first bit of imagehash's array being the highest.

    phash: DCT of the luminance at 32 × 32, its 8 × 8 lowest coefficients > their median. dhash: luminance at
    9 × 8, each pixel > its left neighbour.
    """
    from scipy.fftpack import dct  # here, because it takes long to load and only workers need it

    small, wide = _shrunk(pixels)
    low = dct(dct(small, axis=0), axis=1)[:8, :8]
    return {"phash": _as_integer(low > np.median(low)), "dhash": _as_integer(wide[:, 1:] > wide[:, :-1])}


def _shrunk(pixels: Pixels) -> list[NDArray[np.uint8]]:
    """The two sizes that the library asks Pillow for."""
    if rows_first(*pixels.grey.size):
        return reduced(pixels.levels, (_PHASH, _DHASH), LANCZOS)
    return [np.asarray(pixels.grey.resize(size, Image.Resampling.LANCZOS)) for size in (_PHASH, _DHASH)]


def _as_integer(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


SIDE = 16
_LARGE = 640  # pixels of the shorter side, from which summing rows is the faster way
_EVERY_OTHER_BYTE, _LOW = np.uint32(0x00FF00FF), np.uint32(0xFFFF)
_ROWS = 128  # summed at a time; up to 257 bytes fit 16 bits

Words = NDArray[np.uint32]


def thumbnail(pixels: Pixels) -> dict[str, bytes]:
    """Box average of the RGB image, aspect ratio not kept, as bytes of shape (16, 16, 3)."""
    if min(pixels.rgb.size) < _LARGE:
        return {"thumbnail": pixels.rgb.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()}
    return {"thumbnail": averages(pixels.rgb).tobytes()}


def averages(rgb: Image.Image) -> NDArray[np.uint8]:
    """(16, 16, 3) means of Pillow's boxes, rounded once; Pillow rounds rows and columns, so it may differ by 1.

    Args:
        rgb: at least 16 pixels a side.
    """
    top, left = _edges(rgb.height), _edges(rgb.width)
    words = words_of(rgb)
    spare = np.empty((_ROWS, rgb.width), np.uint32)
    rows = np.stack([_row_sums(words[first:last], spare) for first, last in itertools.pairwise(top)])
    sums = np.add.reduceat(rows, left[:-1], axis=2, dtype=np.int64)
    counts = np.diff(top)[:, None, None] * np.diff(left)
    means = (2 * sums + counts) // (2 * counts)
    return np.ascontiguousarray(means.transpose(0, 2, 1).astype(np.uint8))


def _edges(length: int) -> NDArray[np.int64]:
    """Where the boxes begin, and the end of the last one."""
    return (2 * length * np.arange(SIDE + 1) + SIDE) // (2 * SIDE)


def _row_sums(words: Words, spare: Words) -> NDArray[np.uint32]:
    """(3, width) sums over rows, two bytes of every word at a time; ``spare`` has room for ``_ROWS`` rows."""
    found = np.zeros((3, words.shape[1]), np.uint32)
    for start in range(0, len(words), _ROWS):
        strip = words[start : start + _ROWS]
        masked = np.bitwise_and(strip, _EVERY_OTHER_BYTE, out=spare[: len(strip)])
        red_blue = np.add.reduce(masked, axis=0, dtype=np.uint32)
        masked = np.right_shift(strip, np.uint32(8), out=masked)
        masked &= _EVERY_OTHER_BYTE
        found[0] += red_blue & _LOW
        found[1] += np.add.reduce(masked, axis=0, dtype=np.uint32) & _LOW
        found[2] += red_blue >> np.uint32(16)
    return found


SIGNALS = (
    Signal(
        "hashes",
        1,
        {
            "phash": "uint64: imagehash.phash of 8 × 8; distances are nearly always even; blind to colour and flat"
            " images",
            "dhash": "uint64: imagehash.dhash of 8 × 8, horizontal differences",
        },
        hashes,
        {"phash": pa.uint64(), "dhash": pa.uint64()},
    ),
    Signal(
        "thumbnail",
        2,
        {"thumbnail": "768 bytes: 16 × 16 RGB, row by row, box-averaged; compare by mean absolute difference (0–255)"},
        thumbnail,
        {"thumbnail": pa.binary(SIDE * SIDE * 3)},
    ),
)
