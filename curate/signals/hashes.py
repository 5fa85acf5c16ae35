"""Perceptual hashes, equal to the ``imagehash`` library's, as unsigned 64-bit integers."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

VERSION = 1
COLUMNS = {
    "phash": "uint64: imagehash.phash of 8 × 8; distances are nearly always even; blind to colour and flat pictures",
    "dhash": "uint64: imagehash.dhash of 8 × 8, horizontal differences",
}


def hashes(grey: Image.Image) -> dict[str, int]:
    """``phash`` and ``dhash`` of a luminance image; the first bit of imagehash's array is the highest."""
    return {"phash": _as_integer(imagehash.phash(grey)), "dhash": _as_integer(imagehash.dhash(grey))}


def _as_integer(found: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(found.hash).tobytes(), "big")
