"""What is near an image that is missing: the same name with another ending, in another folder or letter case.

Such a file may be the image that the row means, or another one, so it is named in a message and not read.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from winnow.images import IMAGE_SUFFIXES, is_text

# Kind of hint → meaning.
KINDS = {
    "other_folder": "in another folder than the row names",
    "other_ending": "with another ending than the row names",
    "other_case": "in another letter case than the row names",
    "other_root": "below the image root, but the row names a place elsewhere",
}
_MOST_FILES = 500_000  # that the index holds
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


@dataclass(frozen=True)
class HintCount:
    """How many missing images have a hint of one kind, with one of them."""

    kind: str
    count: int
    path: str
    hint: str


class NearFiles:
    """The names of the files below an image root (the first 500,000), listed when first asked."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        count = 0
        for folder, folders, names in os.walk(self._root):
            folders.sort()
            below = Path(folder).relative_to(self._root).as_posix()
            for name in sorted(filter(_may_be_image, names)):
                alike = found.setdefault(_stem(name), [])
                if len(alike) < _SAME_NAME:
                    alike.append(posixpath.normpath(f"{below}/{name}"))
            count += len(names)
            if count >= _MOST_FILES:
                break
        return found

    def nearest(self, path: str) -> Hint | None:
        """The hint for a path that leads to no file; None if nothing of its name is near."""
        plain = path.replace("\\", "/")
        wanted = _PLACE.sub("", plain)
        elsewhere = wanted != plain
        options = self._by_stem.get(_stem(posixpath.basename(wanted)), [])
        if not options:
            return None
        found = max(options, key=lambda option: _likeness(option, wanted))
        folder, name = posixpath.split(found)
        if name != posixpath.basename(wanted):
            same_ending = _folded(posixpath.splitext(name)[1]) == _folded(posixpath.splitext(wanted)[1])
            kind = "other_case" if same_ending else "other_ending"
            case = "; letter case counts" if kind == "other_case" else ""
            return Hint(kind, f"found as {name} in {folder or '.'}/{case}")
        if elsewhere or wanted.endswith(f"/{found}"):
            before = plain[: -len(found)] if wanted.endswith(found) else posixpath.dirname(plain)
            return Hint("other_root", f"found as {found} below the image root; {before!r} is not there")
        if _folded(found) == _folded(wanted):
            return Hint("other_case", f"found as {name} in {folder}/; letter case counts")
        if not found.endswith(f"/{wanted}"):
            return Hint("other_folder", f"found as {name} in {folder or '.'}/")
        root = os.path.relpath(self._root / found.removesuffix(f"/{wanted}"))
        return Hint("other_folder", f"found as {name} in {folder}/; set `image_root: {root}`")

    def count(self, paths: Iterable[str]) -> list[HintCount]:
        """Hints of missing paths, counted by kind, the most frequent first."""
        counted: dict[str, HintCount] = {}
        for path in paths:
            hint = self.nearest(path)
            if hint is not None:
                before = counted.get(hint.kind) or HintCount(hint.kind, 0, path, hint.text)
                counted[hint.kind] = HintCount(hint.kind, before.count + 1, before.path, before.hint)
        return sorted(counted.values(), key=lambda each: -each.count)


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
