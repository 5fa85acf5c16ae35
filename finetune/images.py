"""Opening a row's images as curation saw them: inside the image root, upright, RGB, under the same caps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from curate.preflight import locate
from curate.settings import MeasureSettings
from winnow.images import decode

if TYPE_CHECKING:
    from PIL.Image import Image

_CAPS = MeasureSettings()


def open_image(root: Path, name: str, max_pixels: int | None = None) -> Image:
    """Decode an image below ``root``; of an animation the first frame.

    Args:
        root: the image root, resolved.
        max_pixels: a larger image is scaled down to this area, see ``capped``.

    Raises:
        ValueError: the class of ``curate.preflight.CLASSES`` and the decoder's words.
    """
    located = locate(name, str(root), max_bytes=_CAPS.max_bytes)
    if located.file is None:
        raise ValueError(f"{located.error} ({located.detail})")
    image, facts = decode(Path(located.file).read_bytes(), max_bytes=_CAPS.max_bytes, max_pixels=_CAPS.max_pixels)
    if image is None:
        raise ValueError(f"{facts.error} ({facts.error_detail})")
    size = capped(image.size, max_pixels)
    return image if size == image.size else image.resize(size)


def capped(size: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    """The (width, height) that is left under a cap on the area; the shape is kept, sides are at least 1."""
    width, height = size
    if max_pixels is None or width * height <= max_pixels:
        return size
    scale = math.sqrt(max_pixels / (width * height))
    width, height = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    height = max(1, min(height, max_pixels // width))  # of a strip, one side is 1 and the other still too long
    return min(width, max_pixels // height), height
