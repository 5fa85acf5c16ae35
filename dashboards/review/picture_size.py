"""The size of a row's picture in pixels, where boxes are given in pixels."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from dashboards.data.catalog import Folder, image_root
from dashboards.data.engine import cached
from winnow.errors import UserError
from winnow.media.images import DEFAULT_MAX_BYTES
from winnow.media.locate import locate

_ORIENTATION = 0x0112  # of EXIF; 1 is upright


def size_of(
    folder: Folder, task: str, images: Sequence[str], keys: Sequence[str | None], number: int
) -> tuple[float, float] | None:
    """Width and height of a picture's own pixels, as its file says.

    None where the file cannot be read, or is turned by its EXIF block: nobody knows then from which side the boxes
    were measured.

    Args:
        images, keys: of the row.
        number: which of them.
    """
    if not (0 <= number < min(len(images), len(keys))) or keys[number] is None:
        return None
    try:
        root = image_root(folder, task)
    except UserError:
        return None
    if root is None:
        return None
    return _size(str(root.resolve()), images[number], str(keys[number]))


@cached(4096)
def _size(root: str, image: str, key: str) -> tuple[float, float] | None:
    """``key`` is part of the cache key: another picture may come to lie there."""
    file = locate(image, root, max_bytes=DEFAULT_MAX_BYTES).file
    if file is None:
        return None
    try:
        with Image.open(file) as opened:
            is_upright = opened.getexif().get(_ORIENTATION, 1) == 1
            return (float(opened.width), float(opened.height)) if is_upright else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
