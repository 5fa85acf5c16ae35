"""Objects as files of the mirror, a folder of this machine with the store's own paths, for every reader of files.

A file of the mirror has the object's size, and a time that is made of the object's time and version (its ETag): it is
current if both are the same, on every machine, without any record.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from winnow.errors import UserError
from winnow.files import atomic_path
from winnow.remote.addresses import StorageError, cache_folder, mirror, naming, parent, url_of
from winnow.remote.storage import (
    AT_ONCE,
    Object,
    asking,
    find,
    is_in_line,
    objects_below,
    objects_in,
    opened,
    set_in_line,
)


def is_current(found: Object, file: Path) -> bool:
    """Whether a file of the mirror holds this very version of the object."""
    try:
        status = file.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (found.size, found.time_ns)


def fetch(found: Object, file: Path | None = None) -> Path:
    """Bring the mirror's file of an object in line with it; a file that is current is left alone.

    Args:
        file: in place of the mirror's.

    Raises:
        UserError: it cannot be had, or written.
    """
    target = file or mirror(found.url)
    if is_current(found, target):
        return target
    client, path = opened(found.url)
    with naming(target), atomic_path(target) as temporary:
        with asking(found.url):
            client.get_file(path, str(temporary))
        if temporary.stat().st_size != found.size:
            raise StorageError("remote_unavailable", f"{found.url}: changed while it was read; run it again")
        os.utime(temporary, ns=(found.time_ns, found.time_ns))
    return target


def fetch_all(objects: Sequence[Object]) -> None:
    """Bring the mirror in line with many objects, at once.

    Raises:
        UserError: one of them cannot be had, or there is no room for them.
    """
    missing = [each for each in objects if not is_current(each, mirror(each.url))]
    if not missing:
        return
    _check_space(missing)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in threads.map(fetch, missing):
            pass


def _check_space(objects: Sequence[Object]) -> None:
    folder = cache_folder()
    disk = next(path for path in [folder, *folder.parents] if path.is_dir())
    needed, free = sum(each.size for each in objects), shutil.disk_usage(disk).free
    if needed > free:
        raise UserError(
            f"{parent(objects[0].url)}: {needed / 2**30:,.1f} GiB are to be fetched, {free / 2**30:,.1f} GiB are free"
            f" at {disk}; make room there, or set WINNOW_CACHE to a folder on another disk"
        )


def fetch_below(url: str) -> None:
    """Bring a folder of the mirror in line with the store's: what is no longer there is removed.

    Raises:
        UserError: see ``fetch_all``; or there is nothing in that folder.
    """
    if is_in_line(url):
        return
    found = objects_below(url)
    if not found:
        raise StorageError("remote_404", f"{url}: no such object, folder or bucket; check the address")
    fetch_all(found)
    wanted, folder = {mirror(each.url) for each in found}, mirror(url)
    for file in [file for file in folder.rglob("*") if file.is_file() and file not in wanted]:
        file.unlink()
    set_in_line(url)


def names_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below a folder with the names of its files, in order, as ``os.walk``; of a mirror those of the store.

    Raises:
        UserError: the store cannot be asked.
    """
    url = url_of(folder)
    if url is None:
        for inside, folders, names in os.walk(folder):
            folders.sort()
            yield Path(inside), sorted(names)
        return
    client, path = opened(url)
    base = client._strip_protocol(path).rstrip("/")
    with asking(url):
        for inside, folders, names in client.walk(path):
            folders.sort()
            yield folder / client._strip_protocol(inside).removeprefix(base).lstrip("/"), sorted(filter(None, names))


def is_object(path: str) -> bool:
    """Whether a path of a mirror is that of an object; False for any other path. Fetches nothing.

    Raises:
        UserError: the store cannot be asked.
    """
    url = url_of(path)
    return url is not None and find(url) is not None


def exists(path: Path) -> bool:
    """Whether a path is a file here, or the object that it mirrors is in the store.

    Raises:
        UserError: the store cannot be asked.
    """
    return path.is_file() or is_object(str(path))


def files_beside(path: Path, pattern: str) -> list[Path]:
    """Files that lie in the folder of a path and fit a pattern, by name; those of a mirror are fetched.

    Raises:
        UserError: the store cannot be asked.
    """
    folder = url_of(path.parent)
    if folder is None:
        return sorted(path.parent.glob(pattern))
    found = [each for each in objects_in(folder) if fnmatch.fnmatchcase(each.url.rpartition("/")[2], pattern)]
    return sorted(fetch(each) for each in found)


def is_file(path: Path) -> bool:
    """Whether a path is a file; one of a mirror is fetched if it is an object.

    Raises:
        UserError: the store cannot be asked.
    """
    url = url_of(path)
    if url is None:
        return path.is_file()
    found = find(url)
    return found is not None and fetch(found, path).is_file()
