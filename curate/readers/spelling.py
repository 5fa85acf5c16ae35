"""Paths of images that a dataset spells otherwise than the file system: as Windows, a URL or another Unicode form does.

Only what names the same file below the image root is read. A path with another ending, folder or letter case could be
another file: it stays missing, and ``winnow.media.near_files`` says what is near it.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from winnow.media.locate import is_url
from winnow.remote.addresses import url_of
from winnow.remote.mirror_files import is_object

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]*")  # matches nothing odd but `../` and `//`, and is much faster
_ODD = re.compile(r"[\\%]|[^\x00-\x7f]|^[\s/]|\s$|^\./|\.\./|//|^file:", re.IGNORECASE)


def is_file(root: str | os.PathLike[str], path: str) -> bool:
    """Whether a dataset's relative path is a file, or an object, below ``root``; never raises for what it holds."""
    if path.startswith("/") or ".." in path.split("/"):
        return False
    file = f"{os.fspath(root)}/{path}"
    return os.path.isfile(file) or is_object(file)  # noqa: PTH113 (pathlib raises for long names)


class Root:
    """An image root, for looking up paths below it.

    Attributes:
        folder: as text, neither resolved nor with a slash at its end.
        asked: if it is a dict, it gets each path whose spelling depends on the files below the root, and its spelling.
    """

    def __init__(self, folder: str | os.PathLike[str], near: Path | None = None) -> None:
        """``near`` is the folder of the file that names the images, which paths with ``..`` are relative to."""
        self.asked: dict[str, str] | None = None
        self.folder = os.fspath(folder)
        self._near = near.absolute() if near is not None else None
        absolute = Path(folder).absolute()
        places = {str(absolute), str(absolute.resolve()), url_of(absolute)} - {None}
        self._prefixes = tuple(f"{str(place).rstrip('/')}/" for place in places)
        self._own_name = f"{absolute.name}/"

    def holds(self, path: str) -> bool:
        """Whether a relative path is a file below the root."""
        return is_file(self.folder, path)

    def is_plain(self, path: str) -> bool:
        """Whether ``spelled`` leaves a path as it is, whatever files there are, as nearly all."""
        if _PLAIN.fullmatch(path) is None or path.startswith(self._own_name):
            return False
        return "../" not in path and "//" not in path

    def spelled(self, path: str) -> str:
        """The path relative to the root as its file is spelled; a path for which there is no file, as it is.

        An absolute path below the root becomes relative, whether or not there is such a file.
        """
        for prefix in self._prefixes:
            path = path.removeprefix(prefix)
        if self.is_plain(path) or (not path.startswith(self._own_name) and not _ODD.search(path)):
            return path
        found = path
        if not self.holds(path) and not is_url(path):
            found = next((option for option in self._options(path) if self.holds(option)), path)
        if self.asked is not None:
            self.asked[path] = found
        return found

    def _options(self, path: str) -> dict[str, None]:
        """Ways to spell the path, the likeliest first."""
        plain = path
        if path[:5].lower() == "file:":
            plain = unquote(re.sub(r"^file:(//(localhost)?(?=/))?(//)?", "", path, flags=re.IGNORECASE))
        found = dict.fromkeys([path, plain, plain.replace("\\", "/"), plain.strip()])
        found.update(dict.fromkeys([unquote(option) for option in found]))
        if self._near is not None:
            climbing = [option for option in found if ".." in option.split("/")]
            found.update(dict.fromkeys([posixpath.normpath(f"{self._near}/{option}") for option in climbing]))
        for prefix in self._prefixes:
            found.update(dict.fromkeys([option.removeprefix(prefix) for option in found]))
        found.update(dict.fromkeys([re.sub("//+", "/", option).removeprefix("./") for option in found]))
        found.update(dict.fromkeys([option.removeprefix(self._own_name) for option in found]))
        for form in ("NFC", "NFD"):
            found.update(dict.fromkeys([unicodedata.normalize(form, option) for option in found]))
        return found
