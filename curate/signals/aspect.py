"""Shape of the picture as seen."""

from __future__ import annotations

from curate.signals.picture import Picture

VERSION = 1
COLUMNS = {"aspect_ratio": "> 0: width / height after EXIF orientation"}


def aspect_ratio(picture: Picture) -> dict[str, float]:
    """Width divided by height."""
    return {"aspect_ratio": picture.rgb.width / picture.rgb.height}
