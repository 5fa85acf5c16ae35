"""Images of samples: found by id and never by a path from a URL, shrunk or cut into tiles, kept on disk, and served.

Here are their addresses; ``routes`` answers them.

- ``/app/static/thumb/{kind}/{folder}/{size}/{image_key}?id={sample_id}``: the whole image, shrunk;
- ``/app/static/tile/{kind}/{folder}/{image_key}/info?id={sample_id}``: the image's size, as JSON;
- ``/app/static/tile/{kind}/{folder}/{image_key}/{level}/{x}-{y}?id={sample_id}``: a part of it, up to its own pixels.

All lie below ``/app/static/``, which Streamlit's image element takes, and below ``--base-path``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from dashboards.data.catalog import Folder
from dashboards.settings import address

SIZES = {"tile": 320, "full": 1280}  # longest side of a thumbnail in pixels
THUMBS = "/app/static/thumb"
TILES = "/app/static/tile"
KEY = re.compile(r"[0-9a-f]{64}")  # of an image: the sha256 of its bytes


def thumb_path(folder: Folder, sample_id: str, image_keys: Sequence[str | None], size: str, number: int = 0) -> str:
    """What Streamlit's image element takes for ``thumb_url``: it adds ``--base-path`` itself."""
    if number >= len(image_keys):
        return f"{THUMBS}/none"
    key = image_keys[number]
    if key is None or not KEY.fullmatch(key):
        return f"{THUMBS}/missing"
    return _path(THUMBS, folder, sample_id, size, key)


def thumb_url(folder: Folder, sample_id: str, image_keys: Sequence[str | None], size: str, number: int = 0) -> str:
    """Address of a sample's image, or of the placeholder when it has no readable one.

    Args:
        size: a key of ``SIZES``.
        number: which of the sample's images.
    """
    return address(thumb_path(folder, sample_id, image_keys, size, number))


def tiles_url(folder: Folder, sample_id: str, image_keys: Sequence[str | None], number: int = 0) -> str | None:
    """Address of what says how an image is cut into tiles, or None when the sample has no readable one.

    The answer is ``{"width": …, "height": …, "tile": 512, "levels": n}``, width and height in pixels as seen (EXIF
    orientation applied). Replacing ``info`` by ``{level}/{x}-{y}`` gives the address of a tile: level 0 is the
    image's own pixels and each further level half as large (rounded up), the last one a single tile; ``x`` and
    ``y`` count tiles from the top left, and those at the right and lower edge are smaller. Where the image cannot be
    shown the answer is 404 with ``{"problem": "image missing"}`` or another reason.
    """
    key = image_keys[number] if number < len(image_keys) else None
    if key is None or not KEY.fullmatch(key):
        return None
    return address(_path(TILES, folder, sample_id, key, "info"))


def _path(base: str, folder: Folder, sample_id: str, *parts: str) -> str:
    where = "/".join(quote(part, safe="") for part in (folder.kind, folder.name, *parts))
    return f"{base}/{where}?{urlencode({'id': sample_id})}"
