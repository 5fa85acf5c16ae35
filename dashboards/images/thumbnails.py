"""Whole images, shrunk to the size at which a page shows them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from dashboards.images.store import REASONS, keep, pixels
from winnow.files import read_regular

_EDITION = "3"  # of what ``render`` makes: thumbnails of another edition are not used
_MAGNIFIED_TO = 640  # pixels: tiny images grow by whole factors, so that a screen shows their pixels unsmoothed
_LOSSLESS_BELOW = 256  # small images suffer from JPEG, and PNG is small enough


def render(data: bytes, size: int) -> bytes:
    """The image that curation and evaluation see, at most ``size`` pixels on its longest side.

    A browser would smooth a tiny image as it enlarges it, and a sharp one would look blurred.

    Returns: PNG for small images, JPEG for the others.

    Raises:
        NoImageError: like ``pixels``.
    """
    with pixels(data) as image:
        return _encode(image, size)


def _encode(image: Image.Image, size: int) -> bytes:
    buffer = io.BytesIO()
    if max(image.size) <= _LOSSLESS_BELOW:
        factor = min(size, _MAGNIFIED_TO) // max(image.size)
        if factor > 1:
            image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        image.save(buffer, "PNG")
    else:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def cached(cache: Path, image_key: str, size: str, make: Callable[[], bytes]) -> bytes:
    """The thumbnail of ``image_key`` (hex sha256) at a key of ``SIZES``, rendered by ``make`` only once.

    The cache is content-addressed, so folders share it and nothing in it goes stale. A
    write that fails costs only the next look-up.
    """
    path = cache / f"{size}-{_EDITION}" / image_key[:2] / image_key
    with contextlib.suppress(OSError):
        if _is_whole(kept := read_regular(path)):
            return kept
    made = make()
    keep(path, made)
    return made


def _is_whole(data: bytes) -> bool:
    """Whether a file of the cache is one of ``render``; after a power cut it may be empty or end early."""
    if data.startswith(b"\x89PNG"):
        return data.endswith(b"IEND\xaeB`\x82")
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")


def placeholder(reason: str) -> bytes:
    """A grey SVG image that states one of ``REASONS``."""
    label = REASONS.get(reason, REASONS["missing"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="320" viewBox="0 0 320 320">'
        '<rect width="320" height="320" fill="#8a93a3" fill-opacity="0.14"/>'
        '<g fill="none" stroke="#8a93a3" stroke-width="5"><rect x="120" y="98" width="80" height="64" rx="8"/>'
        '<path d="M124 156l24-26 16 16 12-12 22 22M116 176l88-92"/></g>'
        '<text x="160" y="216" text-anchor="middle" font-family="sans-serif" font-size="20" fill="#8a93a3">'
        f"{label}</text></svg>"
    ).encode()


def media_type(data: bytes) -> str:
    """The type of a thumbnail or tile."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
