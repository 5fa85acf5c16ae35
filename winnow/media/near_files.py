"""What is near an image that is missing: the same name with another ending, in another folder or letter case.

Such a file may be the image that the row means, or another one, so it is named in a message and not read.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from winnow.media.images import IMAGE_SUFFIXES, LINKED_OUT
from winnow.media.locate import is_text
from winnow.remote.addresses import shown
from winnow.remote.mirror_files import names_below

# Kind of hint → meaning.
KINDS = {
    "other_folder": "in another folder than the row names",
    "other_ending": "with another ending than the row names",
    "other_case": "in another letter case than the row names",
    "other_root": "below the image root, but the row names a place elsewhere",
    "outside": "where the row says, which is outside the image root",
    "lost_link": "behind a link that became a text file",
}
_MOST_FILES = 200_000  # that the index holds
_LONGEST_TARGET = 1024  # bytes
_SAME_NAME = 20  # files of one name that are compared
_PLACE = re.compile(r"^(file:/*|[A-Za-z]:/|~/|/+)", re.IGNORECASE)


@dataclass(frozen=True)
class Hint:
    """A file near a missing one.

    Attributes:
        kind: a key of ``KINDS``.
        text: one clause: where it is and, if a setting helps, which.
    """

    kind: str
    text: str


class NearFiles:
    """The names of the files below an image root (the first 200,000), listed when first asked."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        count = 0
        for folder, names in names_below(self._root):
            below = folder.relative_to(self._root).as_posix()
            for name in filter(_may_be_image, names):
                alike = found.setdefault(_stem(name), [])
                if len(alike) < _SAME_NAME:
                    alike.append(posixpath.normpath(f"{below}/{name}"))
            count += len(names)
            if count >= _MOST_FILES:
                break
        return found

    def hint(self, path: str, error: str | None, detail: str | None) -> Hint | None:
        """The hint for a path that ``winnow.media.locate.locate`` refused with this class and detail."""
        sought = error in ("missing", "outside_root") and detail != LINKED_OUT
        return self.nearest(path) if sought else None

    def nearest(self, path: str) -> Hint | None:
        """The hint for a path that leads to no file; None if nothing of its name is near."""
        plain = path.replace("\\", "/")
        if (explained := self._outside(plain) or self._lost_link(plain)) is not None:
            return explained
        wanted = _PLACE.sub("", plain)
        elsewhere = wanted != plain
        options = self._by_stem.get(_stem(posixpath.basename(wanted)), [])
        if not options:
            return None
        found = max(options, key=lambda option: _likeness(option, wanted))
        folder, name = posixpath.split(found)
        if name != posixpath.basename(wanted):
            ending = posixpath.splitext(name)[1]
            if _folded(ending) != _folded(posixpath.splitext(wanted)[1]):
                named = f"with the ending {ending}" if ending else "without an ending"
                return Hint("other_ending", f"found {named} in {folder or '.'}/")
            return Hint("other_case", f"found in another letter case in {folder or '.'}/")
        if elsewhere or wanted.endswith(f"/{found}"):
            before = plain[: -len(found)] if wanted.endswith(found) else posixpath.dirname(plain)
            return Hint("other_root", f"found as {found} below the image root; {before!r} is not there")
        if _folded(found) == _folded(wanted):
            return Hint("other_case", f"found in another letter case in {folder}/")
        if not found.endswith(f"/{wanted}"):
            return Hint("other_folder", f"found as {name} in {folder or '.'}/")
        return Hint(
            "other_folder", f"found as {name} in {folder}/; {_set(self._root / found.removesuffix(f'/{wanted}'))}"
        )

    def _outside(self, path: str) -> Hint | None:
        """Whether the file is there, but the path leaves the root."""
        climbs = path.startswith("../")
        if not (climbs or path.startswith("/")) or not os.path.isfile(f"{self._root}/{path}" if climbs else path):  # noqa: PTH113 (pathlib raises for long names)
            return None
        folder = f"{self._root.absolute()}/{path[: path.rfind('../') + 3]}" if climbs else posixpath.dirname(path)
        return Hint("outside", f"it is there, but outside the image root; {_set(Path(posixpath.normpath(folder)))}")

    def _lost_link(self, path: str) -> Hint | None:
        """Whether a folder of the path is a text file with the target of a link, as git writes it without links."""
        folder = posixpath.dirname(path)
        while folder and not path.startswith("/") and ".." not in path.split("/"):
            file = f"{self._root}/{folder}"
            with contextlib.suppress(OSError, ValueError):
                if stat.S_ISREG(os.lstat(file).st_mode):
                    target = _text_of(file)
                    is_link = re.fullmatch(r"[^\r\n]*[/\\][^\r\n]*", target) is not None
                    text = f"{folder} is a text file with the path of a link, {target!r}; put the link in its place"
                    return Hint("lost_link", text) if is_link else None
            folder = posixpath.dirname(folder)
        return None


class NearSources:
    """Hints for paths below one root that holds the image roots of several sources.

    A file is looked for in the image root of its own source only, however wide the common root is.
    """

    def __init__(self, root: Path, sources: Sequence[Path]) -> None:
        """``sources`` are the image roots; one that is not below ``root`` names no file of it."""
        whole = root.resolve()
        own = dict.fromkeys(source.resolve() for source in sources)
        below = [each for each in own if each.is_relative_to(whole)]
        self._near = {each.relative_to(whole).as_posix(): NearFiles(each) for each in below}

    def hint(self, path: str, error: str | None, detail: str | None) -> Hint | None:
        """As of ``NearFiles``. A path that leaves its root does not tell its source: the first hint is taken."""
        for folder, near in self._near.items():
            if error == "outside_root" or folder == "." or path.startswith(f"{folder}/"):
                hint = near.hint(path if error == "outside_root" else path.removeprefix(f"{folder}/"), error, detail)
                if hint is not None:
                    return hint
        return None


def _text_of(file: str) -> str:
    """The text of a file that may be the target of a link; '' for a longer one."""
    with open(file, "rb") as handle:  # noqa: PTH123 (pathlib raises for long names)
        data = handle.read(_LONGEST_TARGET + 1)
    return data.decode("utf-8", "replace") if len(data) <= _LONGEST_TARGET else ""


def _set(root: Path) -> str:
    """The setting that makes ``root`` the image root."""
    return f"set `image_root: {root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else shown(root)}`"


def _may_be_image(name: str) -> bool:
    suffix = posixpath.splitext(name)[1].lower()
    return (suffix in IMAGE_SUFFIXES or not suffix) and (name.isascii() or is_text(name))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _stem(name: str) -> str:
    return _folded(posixpath.splitext(name)[0])


def _likeness(option: str, wanted: str) -> tuple[int, int, int]:
    """Compares two files: the likelier has the same name, then more folders in common, then is nearer the root."""
    parts, others = option.split("/"), wanted.split("/")
    same_name = 2 * (parts[-1] == others[-1]) + (_folded(parts[-1]) == _folded(others[-1]))
    common = 0
    for one, other in zip(reversed(parts[:-1]), reversed(others[:-1]), strict=False):
        if _folded(one) != _folded(other):
            break
        common += 1
    return same_name, common, -len(parts)
