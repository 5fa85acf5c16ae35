"""Shape of the picture as seen."""

from __future__ import annotations

from PIL import Image

VERSION = 1
COLUMNS = {"aspect_ratio": "> 0: width / height after EXIF orientation"}


def aspect_ratio(image: Image.Image) -> dict[str, float]:
    """Width divided by height."""
    return {"aspect_ratio": image.width / image.height}
