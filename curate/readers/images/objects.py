"""Bring the images of a set from object storage to the mirror, many at once.

Only images that rows name are asked for, and only those that are not there, or have changed, are fetched. What an image
lacks is seen where it is located (``winnow.media.locate.locate``), as for a file of this machine.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curate.measure.mirrored import bring
from winnow.hash_index import HashIndex
from winnow.media.locate import unavailable_class
from winnow.progress import Bar
from winnow.remote import addresses, storage

_AT_ONCE = 4096  # images that are looked for together
_SILENT = 10  # images in a row that could not be had, after which the store counts as unreachable


def is_stored(root: Path, roots: Sequence[Path], own: Path) -> Callable[[str], str | None]:
    """Tells the address of an image that lies on object storage, by its path below ``root``; None for another one.

    It is picklable.

    Args:
        roots: image roots of the sources, as the recipe names them: nothing else is fetched.
        own: the set's own folder, whose images were made here.
    """
    places = tuple(f"{url}/" for url in map(addresses.url_of, roots) if url is not None)
    return functools.partial(_address, str(root), places, f"{own}/")


def _address(root: str, places: tuple[str, ...], ours: str, path: str) -> str | None:
    file = f"{root}/{path}"
    if not places or ".." in path or file.startswith(ours) or unavailable_class(path) is not None:
        return None
    url = addresses.url_of(file)
    return url if url is not None and url.startswith(places) else None


def bring_images(
    paths: Iterable[str], address: Callable[[str], str | None], max_bytes: int, label: str
) -> Counter[str]:
    """Bring every image that ``is_stored`` gives an address for; images that are gone are removed here too.

    Args:
        max_bytes: larger objects are not fetched.

    Returns:
        ``fetched``, and class → number of images that could not be had.

    Raises:
        UserError: the store cannot be reached, or refuses the credentials.
    """
    counts, silent = Counter[str](), 0
    with Bar(label, None) as bar, ThreadPoolExecutor(storage.AT_ONCE) as threads:
        wanted = _distinct(filter(None, map(address, paths)))
        while block := list(itertools.islice(wanted, _AT_ONCE)):
            found = storage.find_all(block)
            for result in threads.map(bring, block, found, itertools.repeat(max_bytes)):
                bar.advance()
                unreachable = isinstance(result, addresses.StorageError) and result.kind == "remote_unavailable"
                silent = silent + 1 if unreachable else 0
                if isinstance(result, addresses.StorageError):
                    if result.kind == "credentials" or silent == _SILENT:
                        raise result
                    counts[result.kind] += 1
                elif result:
                    counts[result] += 1
    return counts


def _distinct(urls: Iterable[str]) -> Iterator[str]:
    seen = HashIndex()
    return (url for url in urls if seen.add(url, 0) is None)
