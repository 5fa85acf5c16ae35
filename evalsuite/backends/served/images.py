"""Pictures as data URIs: their own bytes where servers can read them, encoded anew where not."""

from __future__ import annotations

import base64
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from evalsuite.backends.images import MAX_BYTES, MAX_PIXELS
from winnow.images import decode

if TYPE_CHECKING:
    from PIL import Image

_SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
_PLAIN_MODES = {"RGB", "L"}  # servers read others (CMYK, 16 bit, palettes, transparency) each in its own way
_QUALITIES = (95, 88, 80)


class Unreadable(ValueError):
    """The file is no picture that can be sent; the text says why."""


@lru_cache(maxsize=32)
def data_uri(file: str, image_key: str, cap: int) -> str:
    """The picture as a data URI of at most ``cap`` bytes before base64.

    Args:
        image_key: sha256 of the bytes, so that a file that changed is not taken from the cache.

    Raises:
        Unreadable: missing, broken, or too large to decode.
    """
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise Unreadable(f"image {file}: {error.strerror}") from error
    image, facts = decode(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    if image is None:
        raise Unreadable(f"image {file}: {facts.error}")
    upright = facts.exif_orientation in (None, 0, 1)
    plain = facts.mode in _PLAIN_MODES and (facts.frames or 1) == 1
    if facts.format in _SENT_AS_THEY_ARE and upright and plain and len(data) <= cap:
        return _uri(_SENT_AS_THEY_ARE[facts.format], data)
    return encode(image, cap)


def encode(image: Image.Image, cap: int) -> str:
    """PNG if that fits into ``cap`` bytes, else JPEG of falling quality, else of half the size."""
    packed = _pack(image, "PNG", optimize=False)
    if len(packed) <= cap:
        return _uri("image/png", packed)
    while True:
        for quality in _QUALITIES:
            packed = _pack(image, "JPEG", quality=quality)
            if len(packed) <= cap:
                return _uri("image/jpeg", packed)
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), reducing_gap=2.0)


def _pack(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
