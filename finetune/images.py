"""Opening a row's images: inside the image root, whole, upright, RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PIXELS = 100_000_000


def locate(root: Path, name: str) -> Path:
    """The file of an image path.

    Raises:
        ValueError: 'outside_root' or 'missing'.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError("outside_root")
    if not path.is_file():
        raise ValueError("missing")
    return path


def open_image(root: Path, name: str) -> Picture:
    """Decode an image below ``root`` to RGB with its EXIF orientation applied.

    Raises:
        ValueError: 'outside_root', 'missing', 'too_large_pixels' or 'unreadable: …'.
    """
    path = locate(root, name)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError("too_large_pixels")
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"unreadable: {error}") from error
