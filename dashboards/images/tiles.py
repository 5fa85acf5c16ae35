"""Parts of an image, up to its own pixels: a viewer loads what it shows and never the whole.

All tiles of an image are made by one decoding and kept in one file, a *pyramid*: a line of JSON that says where each
tile begins, then the tiles one after another.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from dashboards.images.store import NoImageError, keep, pixels
from winnow.files import parse_json

TILE = 512  # pixels, width and height
CAP = 4 << 30  # bytes that all pyramids may take; those opened longest ago go first
_EDITION = "1"  # of what ``build`` makes
_LONGEST_HEADER = 1 << 20  # bytes
_LOSSLESS_UP_TO = 1_000_000  # pixels of the whole image: charts and scans of that size keep every pixel
_QUALITY = 92
# One request builds a pyramid while those for the same image wait. Few images are asked for at once.
_BUILDING = [threading.Lock() for _ in range(16)]


@dataclass(frozen=True)
class Info:
    """How an image is cut.

    Attributes:
        width, height: in pixels, as seen (EXIF orientation applied).
        tile: width and height of a tile in pixels; those at the right and lower edge are smaller.
        levels: number of levels. Level 0 has the image's own pixels, each further one half as many a side, rounded
            up; the last is a single tile.
    """

    width: int
    height: int
    tile: int
    levels: int

    def grid(self, level: int) -> tuple[int, int]:
        """Tiles of a level, across and down."""
        side = self.tile << level
        return -(-self.width // side), -(-self.height // side)


def build(data: bytes) -> bytes:
    """The pyramid of an image file: PNG tiles for images of up to a million pixels, JPEG (4:4:4) for larger ones.

    Raises:
        NoImageError: like ``pixels``.
    """
    with pixels(data) as image:
        # Levels until one tile holds the whole.
        levels = (-(-max(image.size) // TILE) - 1).bit_length() + 1
        info = Info(image.width, image.height, TILE, levels)
        lossless = image.width * image.height <= _LOSSLESS_UP_TO
        tiles = list(_tiles(image, info, lossless))
    header = asdict(info) | {"starts": [0, *accumulate(map(len, tiles))]}
    return b"".join([json.dumps(header).encode(), b"\n", *tiles])


def _tiles(image: Image.Image, info: Info, lossless: bool) -> Iterator[bytes]:
    """All tiles, level by level and row by row."""
    for level in range(info.levels):
        across, down = info.grid(level)
        for y in range(down):
            for x in range(across):
                left, top = x * TILE, y * TILE
                right, bottom = min(left + TILE, image.width), min(top + TILE, image.height)
                buffer = io.BytesIO()
                part = image.crop((left, top, right, bottom))
                if lossless:
                    part.save(buffer, "PNG", compress_level=3)
                else:
                    part.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
                yield buffer.getvalue()
        if level + 1 < info.levels:
            image = image.reduce(2)


def opened(cache: Path, image_key: str, read: Callable[[], bytes]) -> BinaryIO:
    """The pyramid of ``image_key`` (hex sha256), open for reading; built of the file that ``read`` gives only once.

    The folder is held below ``CAP``. Where it cannot be written every call decodes anew.

    Raises:
        NoImageError: of ``read``, or like ``pixels``.
    """
    path = cache / _EDITION / image_key[:2] / image_key
    with contextlib.suppress(OSError):
        return _open(path)
    with _BUILDING[int(image_key[0], 16)]:
        with contextlib.suppress(OSError):
            return _open(path)
        made = build(read())
        make_room(cache, CAP - len(made))
        keep(path, made)
    return io.BytesIO(made)


def _open(path: Path) -> BinaryIO:
    """Raises OSError where there is none, or none that is whole; that one is then made anew."""
    if not path.is_file():
        raise FileNotFoundError(path)
    file = path.open("rb")
    if not _is_whole(file):
        file.close()
        raise OSError(f"{path}: broken")
    with contextlib.suppress(OSError):
        os.utime(path)  # `make_room` sees which are looked at; not every file system notes that itself
    return file


def info_of(pyramid: BinaryIO) -> Info:
    """How the image of a pyramid is cut."""
    return _header(pyramid)[0]


def tile_of(pyramid: BinaryIO, level: int, x: int, y: int) -> bytes:
    """One tile as PNG or JPEG; ``x`` and ``y`` count tiles from the top left.

    Raises:
        NoImageError: ``none``: there is no such tile.
    """
    info, starts = _header(pyramid)
    across, down = info.grid(level) if level < info.levels else (0, 0)
    if not (x < across and y < down):
        raise NoImageError("none")
    before = sum(columns * rows for columns, rows in map(info.grid, range(level)))
    start, end = starts[before + y * across + x :][:2]
    pyramid.seek(start, io.SEEK_CUR)
    return pyramid.read(end - start)


def _is_whole(pyramid: BinaryIO) -> bool:
    """Whether a file holds the header of a pyramid and all of its tiles; leaves it at its beginning."""
    try:
        info, starts = _header(pyramid)
        whole = (
            info.tile == TILE and 0 < info.levels < 32 and all(size > 0 for size in (info.width, info.height))
            and len(starts) == 1 + sum(across * down for across, down in map(info.grid, range(info.levels)))
            and pyramid.tell() + starts[-1] == pyramid.seek(0, io.SEEK_END)
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, LookupError):
        whole = False
    pyramid.seek(0)
    return whole


def _header(pyramid: BinaryIO) -> tuple[Info, list[int]]:
    """Reads up to the first tile."""
    header = parse_json(pyramid.readline(_LONGEST_HEADER))
    starts = header.pop("starts")
    return Info(**header), starts


def make_room(cache: Path, allowed: int) -> None:
    """Delete the pyramids that were opened longest ago until the others take ``allowed`` bytes at most."""
    found = []
    for path in cache.rglob("*"):
        with contextlib.suppress(OSError):  # another request deletes too
            if path.is_file():
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
    held = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held <= allowed:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        held -= size
