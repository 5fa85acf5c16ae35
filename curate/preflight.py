"""What is wrong with an image file, found before any model sees it. Every class is a row in the ledger."""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from curate.reading import unavailable

# Class → what it means. `animated` and `wrong_extension` decode all the same; the others do not.
CLASSES: dict[str, str] = {
    "missing": "no such file, or it may not be read",
    "empty": "zero bytes",
    "not_an_image": "no known image format, or no regular file",
    "truncated": "begins as an image, but its data is cut off or damaged",
    "wrong_extension": "decodes, but the name says another format",
    "animated": "decodes, but has more than one frame; the first is used",
    "too_large_pixels": "more pixels than the cap; not decoded",
    "unreadable_mode": "pixels of a kind that has no defined colours (float, 32-bit, LAB)",
    "outside_root": "the path leaves the image root (absolute, '..', or a link that points out)",
    **unavailable.CLASSES,
}

_FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".gif": "GIF",
    ".webp": "WEBP", ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".jp2": "JPEG2000",
    ".j2k": "JPEG2000", ".jpx": "JPEG2000", ".avif": "AVIF", ".ico": "ICO", ".qoi": "QOI", ".ppm": "PPM",
    ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".heic": "HEIF", ".heif": "HEIF", ".svg": "SVG", ".pdf": "PDF",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Located:
    """A path looked at without reading the file.

    Attributes:
        file: where it is, or None if ``error`` says why it must not be read.
        size: bytes.
        mtime_ns: time of the last change, to know an unchanged file again.
    """

    file: str | None
    size: int = 0
    mtime_ns: int = 0
    error: str | None = None
    detail: str | None = None


def locate(path: str, root: str, *, max_bytes: int) -> Located:
    """Find ``path`` below ``root`` (a resolved folder) without following it out.

    Classes given here: outside_root, missing, not_an_image (folders, devices), too_large_bytes, and those of
    ``curate.reading.unavailable``.
    """
    gone = unavailable.unavailable_class(path)
    if gone is not None:
        return Located(None, error=gone[0], detail=gone[1])
    if path.startswith("/") or "\0" in path or ".." in Path(path).parts or Path(path).is_absolute():
        return Located(None, error="outside_root", detail="not a plain path below the image root")
    file = f"{root}/{path}"
    try:
        status = os.lstat(file)
        linked = stat.S_ISLNK(status.st_mode)
        real = os.path.realpath(file) if linked else f"{_real_folder(os.path.dirname(file))}/"  # noqa: PTH120 (speed)
        if os.path.commonpath([real, root]) != root:
            return Located(None, error="outside_root", detail="a link on the way points out of the image root")
        if linked:
            status = Path(file).stat()
    except (OSError, ValueError) as error:
        return Located(None, error="missing", detail=getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(status.st_mode):
        return Located(None, error="not_an_image", detail="a folder or device, not a file")
    if status.st_size > max_bytes:
        return Located(
            None,
            status.st_size,
            status.st_mtime_ns,
            "too_large_bytes",
            f"{status.st_size} bytes, the cap is {max_bytes}",
        )
    return Located(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def wrong_extension(path: str, content_format: str) -> str | None:
    """What is wrong with the name, or None. Names without a known image suffix are not judged."""
    suffix = Path(path).suffix.lower()
    named = _FORMAT_OF_SUFFIX.get(suffix)
    if named is None or named == content_format or (named == "JPEG" and content_format == "MPO"):
        return None
    return f"named {suffix}, but the content is {content_format}"
