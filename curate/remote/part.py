"""The bytes of an answer as they arrive: a file that may have to go on after a break, and what it holds."""

from __future__ import annotations

import contextlib
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path

from PIL import Image

from curate.reading.embedded import suffix_of
from winnow.errors import UserError
from winnow.http import FetchError

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_ENOUGH = 32  # bytes that tell an image from a page
_FORMATS = {
    ".jpg": "JPEG", ".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".jp2": "JPEG2000",
    ".j2k": "JPEG2000", ".qoi": "QOI", ".avif": "AVIF", ".ppm": "PPM",
}  # fmt: skip


class Part:
    """A growing file.

    Attributes:
        size: bytes so far.
        validator: ETag or date by which the server knows whether the rest still fits, None if it gave none.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes
        self.size = 0
        self.validator: str | None = None
        self._total: int | None = None
        self._start = b""
        self._handle: FileIO | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Hold the file open for one attempt; between attempts only its name is held.

        Raises:
            UserError: it cannot be written.
        """
        with self._told():
            self._handle = FileIO(self.path, "ab" if self.size else "wb")
        try:
            yield
        finally:
            self._handle.close()

    def clear(self) -> None:
        """Begin anew."""
        if self._handle is not None and not self._handle.closed:
            with self._told():
                self._handle.truncate(0)
        self.size, self.validator, self._total, self._start = 0, None, None, b""

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Trouble with the file, unlike trouble with the network, ends the run."""
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Prepare for the body of a 200 or 206.

        Raises:
            FetchError: it would be too large, or it is another range than was asked for.
        """
        if status == 206:
            found = _RANGE.fullmatch(headers.get("Content-Range", ""))
            if not found or int(found[1]) != self.size:
                self.clear()
                raise FetchError("remote_unavailable", "another range than was asked for", retry=True)
            self._total = int(found[2]) if found[2] != "*" else None
        else:
            self.clear()
            length = headers.get("Content-Length", "")
            self._total = int(length) if length.isdigit() else None
        etag = headers.get("ETag", "")
        # A weak ETag does not promise equal bytes.
        self.validator = etag if etag.startswith('"') else headers.get("Last-Modified")
        if self._total is not None and self._total > self._max_bytes:
            raise FetchError("remote_too_large", f"{self._total:,} bytes, the cap is {self._max_bytes:,}")

    def add(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            FetchError: too many, or they do not begin as an image does.
            UserError: they cannot be written.
        """
        if self.size + len(data) > self._max_bytes:
            raise FetchError("remote_too_large", f"more than {self._max_bytes:,} bytes")
        if self._handle is not None:
            with self._told():
                self._handle.write(data)
        self.size += len(data)
        if len(self._start) < _ENOUGH:
            self._start += data[:_ENOUGH]
            if len(self._start) >= _ENOUGH:
                self._check_start()

    def finish(self, max_pixels: int) -> bytes:
        """All bytes, once the body has ended.

        Raises:
            FetchError: too short, no image, or too many pixels.
        """
        if self._total is not None and self.size < self._total:
            raise FetchError("remote_unavailable", f"ended at {self.size:,} of {self._total:,} bytes", retry=True)
        self._check_start()
        pixels = _pixels(self.path, suffix_of(self._start))
        if pixels > max_pixels:
            raise FetchError("remote_too_large", f"{pixels:,} pixels, the cap is {max_pixels:,}")
        return self.path.read_bytes()

    def _check_start(self) -> None:
        if not suffix_of(self._start):
            raise FetchError("remote_not_an_image", f"begins with {self._start[:12]!r}" if self._start else "0 bytes")


def _pixels(path: Path, suffix: str) -> int:
    """Pixels by the header; 0 where it cannot be read, which preflight will say better."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=[_FORMATS[suffix]]) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        return 1 << 62
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, RuntimeError, struct.error):
        return 0
