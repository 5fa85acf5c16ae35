"""What a source holds, as one digest: of what is read the content, of pictures, films and sounds the name and size.

Whether a picture's own bytes have changed is for measuring to see, which looks at every one that a row names.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from winnow.digests import Digests
from winnow.media.images import IMAGE_SUFFIXES, suffix_of
from winnow.remote.addresses import shown

_MEDIA = frozenset(
    {
        *IMAGE_SUFFIXES, ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
        ".mp3", ".m4a", ".wav", ".flac", ".ogg", ".opus", ".aac", ".aiff",
    }
)  # fmt: skip


def folder_content(folder: Path, links_within: Path, digests: Digests, *, leave_out: Path) -> str:
    """Digest of all files below a folder, but for what begins with a dot.

    Args:
        links_within: resolved folder that links to folders may lead into.
        leave_out: a folder that is not looked into.
    """
    return _digest(
        (os.path.relpath(path, folder), status, _content(path, status, digests))
        for path, status in _files(folder, links_within, leave_out)
    )


def files_content(files: Iterable[Path], digests: Digests) -> str:
    """Digest of some files."""
    found = ((str(file), file.stat()) for file in files)
    return _digest((shown(path), status, _content(path, status, digests)) for path, status in found)


def _digest(found: Iterable[tuple[str, os.stat_result, str]]) -> str:
    digest = hashlib.sha256()
    for path, status, content in found:
        digest.update(f"{path}\0{status.st_size}\0{content}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _content(path: str, status: os.stat_result, digests: Digests) -> str:
    """Digest of a file's content; '' for a picture, a film or a sound. One that may not be read says why."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 (there may be a million)
    try:
        if suffix in _MEDIA or (not suffix and _is_picture(path)):
            return ""
        return digests.of(path, status)
    except OSError as error:
        return error.strerror or str(error)


def _is_picture(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123
        return bool(suffix_of(file.read(32)))


def _files(folder: Path, links_within: Path, leave_out: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder with their facts, in the order of their paths; holds one folder's names at a time.

    A folder is entered once, also where links lead to it again.
    """
    waiting, entered = [str(folder)], {os.path.realpath(folder), os.path.realpath(leave_out)}
    while waiting:
        with os.scandir(waiting.pop()) as listed:
            entries = sorted(
                (entry for entry in listed if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
        below = []
        for entry in entries:
            try:
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in entered and (not entry.is_symlink() or Path(real).is_relative_to(links_within)):
                        entered.add(real)
                        below.append(entry.path)
                elif stat.S_ISREG((status := entry.stat()).st_mode):
                    yield entry.path, status
            except OSError:  # a link to nowhere, or removed meanwhile
                continue
        waiting += reversed(below)


def as_text(path: Path) -> str:
    """A path as a text that UTF-8 can hold, whatever its name is."""
    return str(path).encode(errors="backslashreplace").decode()
