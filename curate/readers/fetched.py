"""Sources on object storage as sources on this machine.

What a source names is brought to the mirror (``winnow.remote.mirror_files``): a file, the files of a pattern, or a
folder with all that lies in it. Of an image root only the images that rows name are fetched, later: those of an archive
in it at once.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path

from curate.readers.location import expanded
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.remote import addresses, mirror_files, storage


def here(settings: SourceSettings) -> SourceSettings:
    """The source with files of this machine in place of addresses.

    Raises:
        UserError: an address names nothing, or its store cannot be read.
    """
    changes: dict[str, str] = {}
    if addresses.is_remote(settings.location):
        changes["location"] = location_here(settings.location)
    if settings.image_root is not None and addresses.is_remote(settings.image_root):
        changes["image_root"] = _root_here(settings.image_root)
    for name, given in (("annotations", settings.annotations), ("ocr", settings.ocr)):
        if given is not None and addresses.is_remote(given):
            changes[name] = str(_object_here(addresses.address(given), name))
    return settings.model_copy(update=changes) if changes else settings


def location_here(location: str) -> str:
    """A location as one of this machine; what it names is fetched.

    Raises:
        UserError: see ``here``.
    """
    if not addresses.is_remote(location):
        return location
    url = addresses.address(location)
    if any(sign in url for sign in "{*?["):
        return _pattern_here(url)
    found = storage.find(url)
    if found is not None:
        return str(mirror_files.fetch(found))
    mirror_files.fetch_below(url)
    return str(addresses.mirror(url))


def places_of(settings: SourceSettings) -> list[str]:
    """Folders on object storage that a source names: its rows may name images in them by address."""
    places = []
    if addresses.is_remote(settings.location):
        fixed = re.split(r"[{*?\[]", settings.location)[0]
        places.append(addresses.parent(addresses.address(fixed)) if fixed != settings.location else _folder(fixed))
    if settings.image_root is not None and addresses.is_remote(settings.image_root):
        places.append(addresses.address(settings.image_root))
    return places


def _folder(location: str) -> str:
    """The folder that a location is, or lies in."""
    url = addresses.address(location)
    return url if storage.find(url) is None else addresses.parent(url)


def _pattern_here(url: str) -> str:
    if storage.is_in_line(url):
        return str(addresses.mirror(url))
    scheme, rest = url.split("://", 1)
    for pattern in expanded(rest):
        parts = pattern.split("/")
        fixed = next((number for number, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
        if fixed == 0:
            raise UserError(f"{url}: the bucket must be named, only what follows can be a pattern")
        folder = f"{scheme}://{'/'.join(parts[:fixed])}"
        below = storage.objects_below(folder)
        fitting = [each for each in below if _fits(each.url.removeprefix(f"{folder}/").split("/"), parts[fixed:])]
        mirror_files.fetch_all(fitting)
        wanted = {addresses.mirror(each.url) for each in fitting}
        place = addresses.mirror(folder)
        for file in place.rglob("*"):  # a shard that is no longer there
            if file.is_file() and file not in wanted and _fits(file.relative_to(place).parts, parts[fixed:]):
                file.unlink()
    storage.set_in_line(url)
    return str(addresses.mirror(url))


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the names of a path fit those of a pattern, of which ``**`` stands for any number."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fits(names[start:], parts[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def _root_here(image_root: str) -> str:
    url = addresses.address(image_root)
    if storage.find(url) is not None:  # an archive of images
        return str(_object_here(url, "image_root"))
    if not storage.is_folder(url):
        raise UserError(f"image_root {url}: no such folder")
    return str(addresses.local(url))


def _object_here(url: str, key: str) -> Path:
    found = storage.find(url)
    if found is None:
        raise UserError(f"{key} {url}: no such object")
    return mirror_files.fetch(found)
