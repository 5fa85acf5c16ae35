"""Perceptual hashes, equal to the ``imagehash`` library's, as unsigned 64-bit integers."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

from curate.signals.lanczos import reduced
from curate.signals.picture import Picture

VERSION = 1
COLUMNS = {
    "phash": "uint64: imagehash.phash of 8 × 8; distances are nearly always even; blind to colour and flat pictures",
    "dhash": "uint64: imagehash.dhash of 8 × 8, horizontal differences",
}
_PHASH, _DHASH = (32, 32), (9, 8)  # what the library shrinks a picture to


def hashes(picture: Picture) -> dict[str, int]:
    """``phash`` and ``dhash``; the first bit of imagehash's array is the highest."""
    small, wide = _shrunk(picture)
    return {"phash": _as_integer(imagehash.phash(small)), "dhash": _as_integer(imagehash.dhash(wide))}


def _shrunk(picture: Picture) -> list[Image.Image]:
    """The two sizes that the library asks Pillow for; it then finds them already shrunk.

    Pillow filters rows first unless a picture is much taller than wide (since version 13) or small; only
    rows first is what ``reduced`` computes.
    """
    height, width = picture.levels.shape
    if width >= 64 and 2 * height <= 3 * width:
        return [Image.fromarray(array) for array in reduced(picture.levels, (_PHASH, _DHASH))]
    return [picture.grey.resize(size, Image.Resampling.LANCZOS) for size in (_PHASH, _DHASH)]


def _as_integer(found: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(found.hash).tobytes(), "big")
