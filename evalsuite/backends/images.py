"""Image files of a task: found below its root, identified by content, decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.files import sha256_bytes
from winnow.images import UNAVAILABLE, decode, is_url, locate, unavailable_class

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 100_000_000
MAX_PIXELS = 80_000_000
_READERS = 4


@dataclass(frozen=True, slots=True)
class ImageFile:
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


def identify(paths: Iterable[str], root: Path) -> Iterator[ImageFile]:
    """Hash the files, in the given order. A missing file or a path that leaves the root is an error value."""
    resolved = str(root.resolve())
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda path: _identify(path, resolved), paths)


def _identify(path: str, root: str) -> ImageFile:
    if gone := unavailable_class(path):
        what = path if is_url(path) else gone[1]
        return ImageFile(path, None, None, f"image {what}: {UNAVAILABLE[gone[0]]}")
    found = locate(path, root, max_bytes=MAX_BYTES)
    if found.file is None:
        return ImageFile(path, None, None, f"image {path}: {found.error}")
    try:
        data = Path(found.file).read_bytes()
    except OSError as error:
        return ImageFile(path, None, None, f"image {path}: {error.strerror}")
    return (
        ImageFile(path, found.file, sha256_bytes(data)) if data else ImageFile(path, None, None, f"image {path}: empty")
    )


def load_image(file: str) -> tuple[Image.Image | None, str | None]:
    """The decoded RGB image, or None and why."""
    try:
        image, facts = decode(Path(file).read_bytes(), max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    except OSError as error:
        return None, f"image {file}: {error.strerror}"
    return image, None if image is not None else f"image {file}: {facts.error}"
