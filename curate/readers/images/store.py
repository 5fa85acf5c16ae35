"""Writes embedded and downloaded images to a content-addressed store below the curated folder.

Embedded images are bytes or base64 text in a row; like downloaded ones they are named by their content.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from curate.workspace import UNFINISHED_IMAGES
from winnow.errors import UserError
from winnow.files import sha256_bytes
from winnow.media.images import suffix_of
from winnow.media.locate import unavailable
from winnow.rows.records import BadRow, Sample

_IN_FLIGHT = 1024  # rows that may wait for their images; they leave in the order they came


class Fetcher(Protocol):
    """Turns a URL into a path in the store, or the notation of ``winnow.media.images``."""

    def takes(self, path: str) -> bool:
        """Whether what a row names as its image is a URL that may be fetched."""
        ...

    def submit(self, url: str) -> Future[str]:
        """Start fetching; the same URL twice is fetched once."""
        ...


class ImageStore:
    """Files ``images/ab/<sha256><suffix>`` below a folder.

    A file is there whole or not at all, also after ``kill -9``. Files are not synced one by one, which would cost
    more than all the rest; after a power cut, a file of the wrong length is written again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[str] = set()

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to ``path``, which ``content_path`` made of it.

        Raises:
            UserError: the folder cannot be written, or the disk is full.
        """
        target = f"{self.folder}/{path}"
        folder, _, name = path.rpartition("/")
        with contextlib.suppress(OSError):
            if os.stat(target).st_size == len(data):  # noqa: PTH116 (once an image)
                return
        temporary = self.unfinished(name)
        try:
            if folder not in self._made:
                (self.folder / folder).mkdir(parents=True, exist_ok=True)
                self._made.add(folder)
            temporary.write_bytes(data)
            temporary.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error

    def unfinished(self, name: str) -> Path:
        """Where a file is until it is whole: in one folder, so that what a killed run left is found at once.

        Raises:
            UserError: the folder cannot be created.
        """
        folder = self.folder / UNFINISHED_IMAGES
        if UNFINISHED_IMAGES not in self._made:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
            self._made.add(UNFINISHED_IMAGES)
        return folder / f".{name}.{os.getpid()}.tmp"


def store_images(
    rows: Iterable[Sample | BadRow], store: ImageStore, *, max_bytes: int, fetcher: Fetcher | None = None
) -> Iterator[Sample | BadRow]:
    """The rows, in order, with every embedded image in the store and every URL fetched.

    Args:
        max_bytes: larger images are not stored; their class is ``too_large_bytes``.
        fetcher: None leaves URLs as they are; their class is ``remote_off``.

    Raises:
        UserError: the store cannot be written.
    """
    waiting: deque[tuple[Sample | BadRow, Mapping[str, Future[str]]]] = deque()
    for row in rows:
        futures: dict[str, Future[str]] = {}
        if isinstance(row, Sample):
            row = stored(row, store, max_bytes) if row.embedded else row
            if fetcher is not None:
                futures = {path: fetcher.submit(path) for path in row.image if fetcher.takes(path)}
        waiting.append((row, futures))
        while waiting and (len(waiting) > _IN_FLIGHT or all(future.done() for future in waiting[0][1].values())):
            yield _fetched(*waiting.popleft())
    while waiting:
        yield _fetched(*waiting.popleft())


def stored(sample: Sample, store: ImageStore, max_bytes: int) -> Sample:
    """The sample with its embedded images in the store; ``embedded`` keeps their paths alone."""
    names: dict[str, str] = {}
    for path, data in sample.embedded.items():
        if len(data) > max_bytes:
            names[path] = unavailable("too_large_bytes", f"{len(data)} bytes, the cap is {max_bytes}")
        else:
            store.put(path, data)
    image = tuple(names.get(path, path) for path in sample.image)
    # The keys stay, to distinguish images of the store from files of the dataset; the bytes are not needed.
    return dataclasses.replace(sample, image=image, embedded=dict.fromkeys(sample.embedded, b""))


def _fetched(row: Sample | BadRow, futures: Mapping[str, Future[str]]) -> Sample | BadRow:
    """URLs replaced by paths; the URLs themselves are kept in ``meta.image_url``."""
    if isinstance(row, BadRow) or not futures:
        return row
    paths = {url: future.result() for url, future in futures.items()}
    before = row.image[0] if len(row.image) == 1 else list(row.image)
    return dataclasses.replace(
        row,
        image=tuple(paths.get(path, path) for path in row.image),
        embedded={**row.embedded, **dict.fromkeys(paths.values(), b"")},
        meta={"image_url": before, **row.meta},
    )


_SHORTEST = 64  # characters; no image file is smaller, and hardly a path begins like one
_LONGEST_PATH = 4096
_START = 44  # characters; those of the first 33 bytes
_DATA_URI = re.compile(r"data:[\w.+/-]*(;[\w.+=-]*)*,", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")
_URL_SAFE = str.maketrans("-_", "+/")


def content_path(data: bytes) -> str:
    """Where ``materialise.ImageStore`` keeps these bytes: ``images/ab/<sha256><suffix>``."""
    digest = sha256_bytes(data)
    return f"images/{digest[:2]}/{digest}{suffix_of(data)}"


def is_encoded(text: str) -> bool:
    """Whether a text in an image field is a data URI or base64 rather than a path or URL.

    Base64 is known by decoding to the beginning of an image file, or by being longer than any path.
    """
    if text[:5].lower() == "data:" or len(text) > _LONGEST_PATH:
        return True
    if len(text) < _SHORTEST:
        return False
    try:
        return bool(suffix_of(base64.b64decode(text.lstrip()[:_START].translate(_URL_SAFE), validate=True)))
    except ValueError:  # no base64, or not ASCII
        return False


def decoded(text: str) -> bytes:
    """The bytes of a data URI or base64 text (also URL-safe, wrapped in lines, or without its padding).

    Raises:
        ValueError: not base64.
    """
    found = _DATA_URI.match(text[:200]) if text[:5].lower() == "data:" else None
    if found and not found.group().lower().endswith(";base64,"):
        raise ValueError("a data URI that is not base64")
    plain = text[found.end() if found else 0 :].translate(_BLANKS).translate(_URL_SAFE)
    if not plain:
        raise ValueError("empty")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def embed(data: bytes | str, where: str) -> tuple[str, dict[str, bytes]]:
    """Path of an embedded image and its bytes by that path; base64 that cannot be decoded has no bytes."""
    if isinstance(data, str):
        try:
            data = decoded(data)
        except ValueError as error:
            return unavailable("bad_base64", f"{where} ({error})"), {}
    path = content_path(data)
    return path, {path: data}


def with_embedded(sample: Sample, location: str, position: int) -> Sample:
    """Row ``position`` of a source, with data URIs and base64 texts of its image field moved to ``embedded``.

    ``winnow.rows.records.to_original`` still gives the field as it was.
    """
    if not any(is_encoded(path) for path in sample.image):
        return sample
    paths: list[str] = []
    images: dict[str, bytes] = dict(sample.embedded)
    for path in sample.image:
        if is_encoded(path):
            path, image = embed(path, f"{location}: row {position + 1}")
            images.update(image)
        paths.append(path)
    return dataclasses.replace(sample, image=tuple(paths), embedded=images)
