"""A 16 × 16 colour thumbnail that confirms what a hash proposes."""

from __future__ import annotations

from PIL import Image

from curate.signals.picture import Picture

VERSION = 1
SIDE = 16
COLUMNS = {"thumbnail": "768 bytes: 16 × 16 RGB, row by row, box-averaged; compare by mean absolute difference (0–255)"}


def thumbnail(picture: Picture) -> dict[str, bytes]:
    """Box average of the RGB image, aspect ratio not kept, as bytes of shape (16, 16, 3)."""
    return {"thumbnail": picture.rgb.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()}
