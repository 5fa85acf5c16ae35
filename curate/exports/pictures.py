"""Picture files for exports: read, checked against what was measured, copied under their digest."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from curate.exports.rows import Row
from winnow.errors import UserError
from winnow.files import atomic_path, sha256_bytes

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tiff", "JPEG2000": "jp2"}


def read_picture(row: Row, number: int) -> bytes:
    """The bytes of a row's picture.

    Raises:
        UserError: they are not those that were measured.
    """
    data = Path(row.files[number]).read_bytes()
    if sha256_bytes(data) != row.keys[number]:
        raise UserError(f"{row.files[number]}: has changed since it was measured; run the curation again, then export")
    return data


def suffix_of(data: bytes) -> str:
    """``jpg``, ``png``, … by content: loaders choose a decoder by it, and names lie."""
    try:
        with Image.open(BytesIO(data)) as opened:
            name = opened.format or "img"
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        name = "img"  # kept by a recipe that drops no unreadable file
    return _SUFFIXES.get(name, name.lower())


def copy_pictures(row: Row, folder: Path) -> list[str]:
    """Copy a row's pictures to ``folder/images/<2 digits>/<sha256>.<suffix>``; returns the paths below ``folder``.

    Equal pictures share one file; what an interrupted export has copied is not written again.
    """
    names = []
    for number, key in enumerate(row.keys):
        data = read_picture(row, number)
        name = f"images/{key[:2]}/{key}.{suffix_of(data)}"
        if not (folder / name).is_file():
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(data)
        names.append(name)
    return names
