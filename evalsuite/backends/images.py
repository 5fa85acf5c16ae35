"""Images of a task: found below its root, identified by content, decoded, and encoded for a server."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.files import sha256_bytes
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, UNAVAILABLE, decode
from winnow.media.locate import is_url, locate, unavailable_class
from winnow.vlm.inputs import scaled_down

if TYPE_CHECKING:
    from PIL import Image

_READERS = 4
_SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
_PLAIN_MODES = {"RGB", "L"}  # servers read others (CMYK, 16 bit, palettes, transparency) each in its own way
_QUALITIES = (95, 88, 80)


@dataclass(frozen=True, slots=True)
class TaskImage:
    """A file that a row names.

    Attributes:
        path: relative to the image root.
        file: absolute path, or None if ``error`` says why it cannot be read.
        key: sha256 of its bytes.
    """

    path: str
    file: str | None
    key: str | None
    error: str | None = None


def identify(paths: Iterable[str], root: Path) -> Iterator[TaskImage]:
    """Hash the files, in the given order. A missing file or a path that leaves the root is an error value."""
    resolved = str(root.resolve())
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda path: _identify(path, resolved), paths)


def _identify(path: str, root: str) -> TaskImage:
    file, error = find_image(path, root)
    if file is None:
        return TaskImage(path, None, None, error)
    try:
        data = Path(file).read_bytes()
    except OSError as problem:
        return TaskImage(path, None, None, f"image {path}: {problem.strerror}")
    return TaskImage(path, file, sha256_bytes(data)) if data else TaskImage(path, None, None, f"image {path}: empty")


def find_image(path: str, root: str) -> tuple[str | None, str | None]:
    """Absolute path of an image below the resolved ``root``, or None and why it cannot be read. No file is opened."""
    if gone := unavailable_class(path):
        what = path if is_url(path) else gone[1]
        return None, f"image {what}: {UNAVAILABLE[gone[0]]}"
    found = locate(path, root, max_bytes=DEFAULT_MAX_BYTES)
    return found.file, None if found.file else f"image {path}: {found.error}"


def load_image(file: str) -> tuple[Image.Image | None, str | None]:
    """The decoded RGB image, or None and why."""
    try:
        image, facts = decode(Path(file).read_bytes(), max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    except OSError as error:
        return None, f"image {file}: {error.strerror}"
    return image, None if image is not None else f"image {file}: {facts.error}"


class Unreadable(ValueError):
    """The file is no image that can be sent; the message says why."""


@lru_cache(maxsize=32)
def data_uri(file: str, image_key: str, cap: int, max_pixels: int | None = None) -> str:
    """The image as a data URI of at most ``cap`` bytes before base64.

    Args:
        image_key: sha256 of the bytes, so that a file that changed is not taken from the cache.
        max_pixels: a larger image is scaled down to this area.

    Raises:
        Unreadable: missing, broken, or too large to decode.
    """
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise Unreadable(f"image {file}: {error.strerror}") from error
    image, facts = decode(data, max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    if image is None:
        raise Unreadable(f"image {file}: {facts.error}")
    upright = facts.exif_orientation in (None, 0, 1)
    plain = facts.mode in _PLAIN_MODES and (facts.frames or 1) == 1
    scaled = scaled_down(image, max_pixels)
    if facts.format in _SENT_AS_THEY_ARE and upright and plain and scaled is image and len(data) <= cap:
        return _uri(_SENT_AS_THEY_ARE[facts.format], data)
    return encode(scaled, cap)


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
