"""Images on object storage, as a worker on another machine reads them: from a mirror of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from curate.engines.far import Sight
from winnow.remote import addresses, mirror_files, storage


@dataclass(frozen=True)
class Mirrored:
    """The images of a set that lie on object storage, and the mirror of the machine that runs the command.

    Attributes:
        mirror: that mirror, in which the images are there and current.
        address: of an image, by its path; None for one that is not on object storage.
        max_bytes: larger objects are not fetched.
    """

    mirror: Sight
    address: Callable[[str], str | None]
    max_bytes: int

    def root(self, root: str, paths: Sequence[str]) -> str:
        """The image root on this machine, after the images of these paths are brought there."""
        if self.mirror.is_seen():
            return root
        urls = [url for url in map(self.address, paths) if url is not None]
        if urls:
            try:
                found = storage.find_all(urls)
            except addresses.StorageError as error:  # without credentials nothing is known of any
                found = [error] * len(urls)
            with ThreadPoolExecutor(storage.AT_ONCE) as threads:
                list(threads.map(lambda url, each: bring(url, each, self.max_bytes), urls, found))
        return addresses.in_own_mirror(root)


def bring(
    url: str, found: storage.Object | addresses.StorageError | None, max_bytes: int
) -> addresses.StorageError | str:
    """Bring the mirror's file in line with what was found.

    Returns:
        What became of it: ``fetched``, nothing to do (''), or the error.
    """
    if isinstance(found, addresses.StorageError):
        return found
    file = addresses.mirror(url)
    if found is None or found.size > max_bytes:
        if os.path.lexists(file):  # which no name or folder in its way makes fail
            file.unlink()
    elif not mirror_files.is_current(found, file):
        try:
            mirror_files.fetch(found, file)
        except addresses.StorageError as error:
            return error
        return "fetched"
    return ""
