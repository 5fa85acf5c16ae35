"""Shrink images, and keep the result on disk."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from curate.recipe import MeasureSettings
from dashboards.images.store import NoImageError
from winnow.images import decode

SIZES = {"tile": 320, "full": 1280}  # longest side in pixels
REASONS = {
    "missing": "image missing",
    "outside": "outside the image root",
    "changed": "changed since the run",
    "too_large": "too large to show",
    "unreadable": "not readable",
    "none": "no image",
}
_EDITION = "2"  # of what ``render`` makes; another one leaves old thumbnails aside
_MAGNIFIED_TO = 640  # pixels: tiny images grow by whole factors, so that a screen shows their pixels unsmoothed
_LOSSLESS_BELOW = 256  # small images suffer from JPEG, and PNG is small enough
_LIMITS = MeasureSettings()  # the same caps as curation
_DECODING = threading.BoundedSemaphore(2)  # bounds memory: a page asks for dozens at once


def render(data: bytes, size: int) -> bytes:
    """The image that curation and evaluation see, at most ``size`` pixels on its longest side.

    A browser would smooth a tiny image as it enlarges it, and a sharp one would look blurred.

    Returns: PNG for small images, JPEG for the others.

    Raises:
        NoImageError: ``too_large`` above the caps of curation, ``unreadable`` for anything else.
    """
    with _DECODING:
        image, facts = decode(data, max_bytes=_LIMITS.max_bytes, max_pixels=_LIMITS.max_pixels)
        if image is None:
            raise NoImageError("too_large" if (facts.error or "").startswith("too_large") else "unreadable")
        return _encode(image, size)


def cached(cache: Path, image_key: str, size: str, make: Callable[[], bytes]) -> bytes:
    """The thumbnail of ``image_key`` (hex sha256) at a key of ``SIZES``, rendered by ``make`` only once.

    The cache is content-addressed, so folders share it and nothing in it goes stale. A
    write that fails (disk full, read-only folder) costs only the next look-up.
    """
    path = cache / f"{size}-{_EDITION}" / image_key[:2] / image_key
    with contextlib.suppress(OSError):
        return path.read_bytes()
    made = make()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two requests may render the same image at once.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as handle:
            handle.write(made)
        Path(handle.name).replace(path)
    return made


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
    """The type of what ``render`` made."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


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
