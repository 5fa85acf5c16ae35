"""Images that are no files yet become files, once, named by their content, below the curated folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from curate.reading.unavailable import is_url, unavailable
from curate.sample import BadRow, Sample
from winnow.errors import UserError

UNFINISHED = "images/.unfinished"
_IN_FLIGHT = 1024  # rows that may wait for their images; rows leave in the order they came


class Fetcher(Protocol):
    """Turns a URL into a path in the store, or the notation of ``curate.reading.unavailable``."""

    def submit(self, url: str) -> Future[str]:
        """Start fetching; the same URL twice is fetched once."""
        ...


class ImageStore:
    """Files ``images/ab/<sha256><suffix>`` below a folder.

    A file is there whole or not at all, also after ``kill -9``. It is not synced one by one, which would cost
    more than all the rest; after a power cut a file of the wrong length is written again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[str] = set()

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to ``path``, which ``embedded.content_path`` made of it.

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
        """Where a file stands until it is whole: in one folder, so that what a killed run left is found at once.

        Raises:
            UserError: the folder cannot be made.
        """
        folder = self.folder / UNFINISHED
        if UNFINISHED not in self._made:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
            self._made.add(UNFINISHED)
        return folder / f".{name}.{os.getpid()}.tmp"


def materialised(
    rows: Iterable[Sample | BadRow], store: ImageStore, *, max_bytes: int, fetcher: Fetcher | None = None
) -> Iterator[Sample | BadRow]:
    """The rows, in order, with every embedded image in the store and every URL fetched.

    Args:
        max_bytes: larger images are not stored; their class is ``too_large_bytes``.
        fetcher: None leaves URLs as they are, which is the class ``remote_off``.

    Raises:
        UserError: the store cannot be written.
    """
    waiting: deque[tuple[Sample | BadRow, Mapping[str, Future[str]]]] = deque()
    for row in rows:
        futures: dict[str, Future[str]] = {}
        if isinstance(row, Sample):
            row = _stored(row, store, max_bytes) if row.embedded else row
            if fetcher is not None:
                futures = {path: fetcher.submit(path) for path in row.image if is_url(path)}
        waiting.append((row, futures))
        while waiting and (len(waiting) > _IN_FLIGHT or all(one.done() for one in waiting[0][1].values())):
            yield _fetched(*waiting.popleft())
    while waiting:
        yield _fetched(*waiting.popleft())


def _stored(sample: Sample, store: ImageStore, max_bytes: int) -> Sample:
    names: dict[str, str] = {}
    for path, data in sample.embedded.items():
        if len(data) > max_bytes:
            names[path] = unavailable("too_large_bytes", f"{len(data)} bytes, the cap is {max_bytes}")
        else:
            store.put(path, data)
    image = tuple(names.get(path, path) for path in sample.image)
    # The keys stay, to tell images of the store from files of the dataset; the bytes need not.
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
