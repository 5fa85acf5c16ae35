"""The files that a location stands for: one file, a folder, or a pattern with braces or wildcards."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from winnow.errors import UserError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SPLIT_IN_NAME = re.compile(r"(train|training|validation|valid|val|dev|test|testing)(?=[-_.]|$)", re.IGNORECASE)
_SAME_SPLIT = {"training": "train", "valid": "validation", "val": "validation", "testing": "test"}
_MAX_FILES = 1_000_000


def files_of(location: str, suffixes: Sequence[str]) -> list[Path]:
    """The files that a location stands for, sorted; empty if there are none.

    A file is itself. A folder holds the files with one of ``suffixes`` in it and in its ``data`` folder.
    A pattern may have ``{000..012}`` (with leading zeros), ``{a,b}``, ``*``, ``**``, ``?`` and ``[]``.

    Raises:
        UserError: the pattern stands for more than a million files.
    """
    path = Path(location)
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(file for folder in (path, path / "data") for file in folder.glob("*") if file.suffix in suffixes)
    if not any(sign in location for sign in "{*?["):
        return []
    found = [hit for pattern in expanded(location) for hit in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    return list(dict.fromkeys(Path(hit) for hit in found if Path(hit).is_file()))


def expanded(pattern: str) -> list[str]:
    """A pattern with its braces written out, in order."""
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    numbers = _RANGE.fullmatch(found[1])
    options: Sequence[str] = found[1].split(",")
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= _MAX_FILES:
            raise UserError(f"{pattern}: stands for more than {_MAX_FILES:,} files")
        step = 1 if last >= first else -1
        options = [f"{number:0{len(numbers[1])}}" for number in range(first, last + step, step)]
    before, after = pattern[: found.start()], expanded(pattern[found.end() :])
    if len(options) * len(after) > _MAX_FILES:
        raise UserError(f"{pattern}: stands for more than {_MAX_FILES:,} files")
    return [f"{before}{option}{rest}" for option in options for rest in after]


def split_of(path: Path) -> str:
    """The split that a file name begins with (``train-00000-of-00002.parquet``), else ''."""
    found = _SPLIT_IN_NAME.match(path.name)
    return _SAME_SPLIT.get(found[1].lower(), found[1].lower()) if found else ""


def of_split(files: Sequence[Path], split: str) -> list[tuple[Path, str]]:
    """Files with their splits; if their names tell the splits and ``split`` is given, only those of it."""
    named = [(file, split_of(file)) for file in files]
    if len(files) > 1 and split and any(name == _SAME_SPLIT.get(split, split) for _, name in named):
        named = [(file, name) for file, name in named if name == _SAME_SPLIT.get(split, split)]
    return [(file, split or (name if len(files) > 1 else "")) for file, name in named]
