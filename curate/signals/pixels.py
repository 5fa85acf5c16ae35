"""What the classical signals share of one decoded image, so that each of it is made once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded image.

    Attributes:
        rgb: 8-bit RGB.
        grey: its luminance, Pillow's mode L: ITU-R 601, (299 R + 587 G + 114 B) / 1000.
        levels: the same as a (height, width) uint8 array.
        histogram: (256,) number of pixels of each luminance level.
        original: the image in the file's own mode, neither turned nor blended; ``rgb`` where it is the same.
    """

    rgb: Image.Image
    grey: Image.Image
    levels: NDArray[np.uint8]
    histogram: NDArray[np.int64]
    original: Image.Image

    @classmethod
    def of(cls, rgb: Image.Image, original: Image.Image | None = None) -> Pixels:
        """Derive luminance and histogram of an RGB image."""
        grey = rgb.convert("L")
        histogram = np.asarray(grey.histogram(), dtype=np.int64)
        return cls(rgb, grey, levels_of(grey), histogram, rgb if original is None else original)


def levels_of(grey: Image.Image) -> NDArray[np.uint8]:
    """(height, width) view of an 8-bit grey image's own memory; a copy where Pillow cannot share it."""
    if hasattr(grey, "__arrow_c_array__"):
        try:
            return pa.array(grey).to_numpy().reshape(grey.height, grey.width)
        except ValueError:  # a large image lies in several blocks
            pass
    return np.asarray(grey)


def words_of(rgb: Image.Image) -> NDArray[np.uint32]:
    """(height, width) pixels of an RGB image: red in the lowest byte, green, blue, and a byte that means nothing.

    The image's own memory; a copy where Pillow cannot share it.
    """
    if hasattr(rgb, "__arrow_c_array__"):
        try:
            return pa.array(rgb).flatten().to_numpy().view("<u4").reshape(rgb.height, rgb.width)
        except ValueError:  # a large image lies in several blocks
            pass
    return np.asarray(rgb.convert("RGBX")).view("<u4")[:, :, 0]
