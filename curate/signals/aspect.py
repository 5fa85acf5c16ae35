"""Shape of the image as seen."""

from __future__ import annotations

from curate.signals.pixels import Pixels

VERSION = 1
COLUMNS = {"aspect_ratio": "> 0: width / height after EXIF orientation"}


def aspect_ratio(pixels: Pixels) -> dict[str, float]:
    """Width divided by height."""
    return {"aspect_ratio": pixels.rgb.width / pixels.rgb.height}
