"""What near-duplicate search compares: perceptual hashes, which propose a pair, and a thumbnail, which confirms it.

The hashes equal the ``imagehash`` library's, as unsigned 64-bit integers.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from curate.signals.base import BOXES, Grey, Pixels, Signal
from curate.signals.reduction import LANCZOS, reduced, rows_first

_PHASH, _DHASH = (32, 32), (9, 8)


def hashes(pixels: Pixels) -> dict[str, int]:
    """``phash`` and ``dhash``, the first bit of imagehash's array being the highest.

    phash: DCT of the luminance at 32 × 32, its 8 × 8 lowest coefficients > their median. dhash: luminance at
    9 × 8, each pixel > its left neighbour.
    """
    from scipy.fftpack import dct  # here, because it takes long to load and only workers need it

    small, wide = _shrunk(pixels)
    low = dct(dct(small, axis=0)[:8], axis=1)[:, :8]
    middle = np.partition(low, (31, 32), axis=None)[31:33]
    bits = low > (middle[0] + middle[1]) / 2  # the median
    return {"phash": _as_integer(bits), "dhash": _as_integer(wide[:, 1:] > wide[:, :-1])}


def _shrunk(pixels: Pixels) -> list[Grey]:
    """The two sizes that the library asks Pillow for."""
    if rows_first(*pixels.rgb.size):
        return reduced(pixels.levels, (_PHASH, _DHASH), LANCZOS)
    grey = Image.fromarray(pixels.levels)
    return [np.asarray(grey.resize(size, Image.Resampling.LANCZOS)) for size in (_PHASH, _DHASH)]


def _as_integer(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


SIDE = BOXES


def thumbnail(pixels: Pixels) -> dict[str, bytes]:
    """Box average of the RGB image, aspect ratio not kept, as bytes of shape (16, 16, 3)."""
    if min(pixels.rgb.size) < SIDE:
        return {"thumbnail": pixels.rgb.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()}
    return {"thumbnail": pixels.boxes.tobytes()}


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
        3,
        {"thumbnail": "768 bytes: 16 × 16 RGB, row by row, box-averaged; compare by mean absolute difference (0–255)"},
        thumbnail,
        {"thumbnail": pa.binary(SIDE * SIDE * 3)},
    ),
)
