"""What a location of a recipe stands for: one file, a folder, or a pattern with braces or wildcards.

A ``Probe`` is a first look at it before its layout is known: what every ``looks_like`` decides on.
"""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.readers.fields import as_object, is_conversation
from curate.readers.files.arrow import saved_files
from curate.readers.files.json import document_head
from curate.readers.files.rows import is_json, iter_rows, text_start
from winnow.errors import UserError
from winnow.rows.records import BadRow

_NAMES = 10_000
_ROWS_PROBED = 100


@dataclass(frozen=True)
class Probe:
    """A look at a location, of bounded size whatever lies there.

    Attributes:
        location: as the user wrote it.
        path: the same as a path; need not exist (``hub:…``, a package's name).
        is_folder, is_file: what is there.
        names: of a folder, the names in it (the first 10,000).
        start: of a file, its first 4 KiB; of a text as UTF-8.
        document: of a file that is one JSON object, its keys; scalars whole, of arrays the first
            element, of objects the first 16 members.
        first: the first readable row of a table or JSON file; of several tables, of the first; else empty.
        trouble: why no row could be read, if the file is broken.
    """

    location: str
    path: Path
    is_folder: bool = False
    is_file: bool = False
    names: frozenset[str] = frozenset()
    start: bytes = b""
    document: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""

    @property
    def is_json(self) -> bool:
        """Whether it is a file that begins as JSON or JSONL does."""
        return is_json(self.start)

    def element(self, key: str) -> Mapping[str, Any]:
        """The first element of the document's list ``key`` if that is an object, else empty."""
        return as_object(self.document.get(key))

    def member(self) -> Mapping[str, Any]:
        """The value of the document's first key if that is an object, else empty."""
        return as_object(next(iter(self.document.values()), None))


def take_probe(location: str) -> Probe:
    """Look at a location; never raises for what is there."""
    path = Path(location)
    try:
        if path.is_dir():
            names = frozenset(entry.name for entry in itertools.islice(path.iterdir(), _NAMES))
            return Probe(location, path, is_folder=True, names=names)
        if not path.is_file():
            return Probe(location, path)
        start = text_start(path)
        document = document_head(path)
    except UserError as error:
        return Probe(location, path, is_file=True, trouble=str(error).removeprefix(f"{path}: "))
    except (OSError, ValueError) as error:  # no permission, or a name that no file can have
        return Probe(location, path, trouble=str(error))
    try:
        first, trouble = _first(path), ""
    except UserError as error:
        first, trouble = {}, str(error).removeprefix(f"{path}: ")
    return Probe(location, path, False, True, frozenset(), start, document, first, trouble)


def _first(path: Path) -> Mapping[str, Any]:
    bad: BadRow | None = None
    for row in itertools.islice(iter_rows(path), _ROWS_PROBED):
        if not isinstance(row, BadRow):
            return row.fields
        bad = bad or row
    if bad is not None:
        raise UserError(f"{path}: none of the first rows can be read; {bad.where}: {bad.reason}")
    return {}


# Endings of the files that together may make one table; each may be packed with gzip.
_TABLES = (".parquet", ".arrow", ".feather", ".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx")
_PACKED_ROWS = re.compile(r"\.(tar|tgz|tar\.\w+)$")  # shards, which `webdataset` reads
_COMPARED = 20


def table_files(location: str, split: str) -> list[tuple[Path, str]]:
    """The tables that a location stands for, each with its split; of ``split`` only, if their names tell the splits.

    A file, a pattern, a folder that ``datasets`` saved, or a folder of tables of one kind that have most columns in
    common; empty for anything else.

    Raises:
        UserError: a pattern stands for too many files, or a saved dataset is not whole.
    """
    folder = Path(location)
    if not folder.is_dir():
        return of_split([file for file in files_of(location, ()) if not _PACKED_ROWS.search(file.name)], split)
    if saved := saved_files(folder):
        named = [(file, name) for file, name in saved if not split or not name or name == split]
        return [(file, split or name) for file, name in named]
    inside = (file for base in (folder, folder / "data") for file in base.glob("*"))
    files = sorted(file for file in inside if _kind(file) and file.is_file())
    return of_split(files, split) if len({_kind(file) for file in files}) == 1 and _alike(files) else []


def _kind(file: Path) -> str:
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in _TABLES and not file.name.startswith((".", "~")) else ""


def _alike(files: Sequence[Path]) -> bool:
    """Whether the first files hold conversations or have most columns in common.

    Also if one of them is broken, which reading it will report.
    """
    try:
        first = [_first(file) for file in files[:_COMPARED]]
    except UserError:
        return True
    if all(map(is_conversation, first)):  # however each spells it
        return True
    found = [set(row) for row in first]
    return len(set.intersection(*found)) * 2 >= len(set.union(*found))


_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SPLIT_IN_NAME = re.compile(
    r"(train|training|validation|valid|val|dev|test|testing)(?:[-_]?set)?(?=[-_.]|$)", re.IGNORECASE
)
_SPLIT_OF_CACHE = re.compile(r"-(train|validation|test)(-\d+-of-\d+)?\.arrow$")
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
    """The split that a file name begins with (``train-00000-of-00002.parquet``), else ''.

    In Hugging Face's cache it stands at the end (``parquet-train-00000-of-00002.arrow``).
    """
    found = _SPLIT_IN_NAME.match(path.name) or _SPLIT_OF_CACHE.search(path.name)
    return _SAME_SPLIT.get(found[1].lower(), found[1].lower()) if found else ""


def of_split(files: Sequence[Path], split: str) -> list[tuple[Path, str]]:
    """Files with their splits; if their names tell the splits and ``split`` is given, only those of it."""
    named = [(file, split_of(file)) for file in files]
    if len(files) > 1 and split and any(name == _SAME_SPLIT.get(split, split) for _, name in named):
        named = [(file, name) for file, name in named if name == _SAME_SPLIT.get(split, split)]
    return [(file, split or (name if len(files) > 1 else "")) for file, name in named]
