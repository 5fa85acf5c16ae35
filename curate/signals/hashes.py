"""Perceptual hashes, equal to the ``imagehash`` library's, as unsigned 64-bit integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.signals.pixels import Pixels
from curate.signals.reduction import LANCZOS, reduced, rows_first

VERSION = 1
COLUMNS = {
    "phash": "uint64: imagehash.phash of 8 × 8; distances are nearly always even; blind to colour and flat images",
    "dhash": "uint64: imagehash.dhash of 8 × 8, horizontal differences",
}
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
