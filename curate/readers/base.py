"""What every published annotation layout needs: rows one by one, their fields checked, nothing lost.

Where the images of a published layout lie, for downloads unpacked in any of the usual ways.

Where the images of a file of samples lie.

The second file of a layout that has two: its rows by id, in memory that does not hold them.

What a location looks like before its layout is known: what every ``looks_like`` decides on.

A location that stands for several files: a folder, or a pattern with braces or wildcards.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.readers.images import is_encoded
from curate.readers.json import Value, document_head, iter_document, read_at
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.hash_index import HashIndex
from winnow.images import is_url
from winnow.records import BadRow, Form, Sample, Turn, full_id, majority

_ROWS_LOCATED = 50


def deduced_root(settings: SourceSettings, rows: Iterable[Sample | BadRow]) -> Path:
    """``settings.image_root``, or the folder near the file below which most of the first images exist.

    Tried in this order, the earlier one wins a tie: the file's folder, ``images/`` in it, ``images/``
    beside it. The folder above is not tried: what a data set names must not widen what it may read.

    Raises:
        UserError: the given folder does not exist.
    """
    given = given_root(settings)
    if given is not None:
        return given
    folder = Path(settings.location).parent
    candidates = [folder, folder / "images", folder.parent / "images"]
    first = [row for row in itertools.islice(rows, _ROWS_LOCATED) if isinstance(row, Sample)]
    images = [
        path
        for row in first
        for path in row.image
        if path not in row.embedded and not is_encoded(path) and not is_url(path)
    ]
    return max(candidates, key=lambda root: sum(is_file(root, path) for path in images))


def is_file(root: Path, path: str) -> bool:
    """Whether a data set's relative path is a file below ``root``; never raises, whatever it holds."""
    return not path.startswith("/") and os.path.isfile(f"{root}/{path}")  # noqa: PTH113 (pathlib raises for long names)


def given_root(settings: SourceSettings) -> Path | None:
    """The folder that the recipe names, if it names one.

    Raises:
        UserError: it is not there.
    """
    if settings.image_root is None:
        return None
    given = Path(settings.image_root)
    if not given.is_dir():
        raise UserError(f"image_root {given}: no such folder")
    return given


_SPLIT = re.compile(r"(?<![a-z])(train|val|test-?dev|test)(?:idation)?(?![a-z])")
OPTION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def samples(
    rows: Iterable[Value | BadRow], make: Callable[[Mapping[str, Any], Value], Sample | None], first: int = 0
) -> Iterator[Sample | BadRow]:
    """Each row through ``make(object, where it stood)``.

    A row that is no object, or of which ``make`` raises ValueError, becomes a ``BadRow``; one for
    which it returns None is of another split. Positions count from ``first``.
    """
    for position, row in enumerate(rows, start=first):
        if isinstance(row, BadRow):
            yield BadRow(row.where, row.reason, position)
        elif not isinstance(row.value, dict):
            yield BadRow(row.where, "not a JSON object", position)
        else:
            try:
                made = make(row.value, row)
            except ValueError as error:
                yield BadRow(row.where, str(error), position)
            else:
                if made is not None:
                    yield made


def text(row: Mapping[str, Any], key: str) -> str:
    """A text that is not blank.

    Raises:
        ValueError: there is none.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"no text {key!r}")
    return value


def own_id(row: Mapping[str, Any], key: str) -> str | int:
    """An id, a text or a whole number.

    Raises:
        ValueError: there is none.
    """
    value = row.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise ValueError(f"no id {key!r}")
    return value


def references(value: Any) -> tuple[str, ...]:
    """Every vote as text: one text or number, a list of these, or a list of ``{"answer": …}``; none for null.

    Raises:
        ValueError: something else.
    """
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    found = [item.get("answer") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in found):
        raise ValueError("an answer is neither a text nor a number")
    return tuple(str(one) for one in found)


def lettered(choices: Any) -> list[str]:
    """Options as lines ``A. first``, ``B. second`` …

    Raises:
        ValueError: no list of texts, or more than 26.
    """
    if not isinstance(choices, list) or not choices or len(choices) > len(OPTION_LETTERS):
        raise ValueError("'choices' must be a list of 1 to 26 texts")
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError("'choices' must be texts")
    return [f"{letter}. {choice}" for letter, choice in zip(OPTION_LETTERS, choices, strict=False)]


def split_in(*names: str) -> str:
    """``train``, ``val``, ``test`` or ``testdev`` as the first of the names spells it; '' if none does."""
    for name in names:
        if found := _SPLIT.search(name.lower()):
            return found[1]
    return ""


def sample(
    row: Mapping[str, Any],
    *,
    question: str,
    answers: tuple[str, ...],
    own: str | int | None,
    image: str | tuple[str, ...],
    settings: SourceSettings,
    source: str,
    split: str,
    held: Iterable[str],
    extra: Mapping[str, Any] | None = None,
) -> Sample:
    """A row as a sample; without answers it has no assistant turn.

    Args:
        own: the row's id; None makes one from its content.
        source, split: used where the recipe names none.
        held: keys of ``row`` whose value the sample's other fields hold to the letter. All others
            go to ``meta``.
        extra: more for ``meta``; the row's own keys win.
    """
    source = source if settings.source is None else settings.source
    split = settings.split or split
    held = set(held)
    turns = (Turn("user", question), Turn("assistant", majority(answers))) if answers else (Turn("user", question),)
    return Sample(
        id=full_id(digest_of(dict(row))[:16] if own is None else str(own), source, split),
        image=(image,) if isinstance(image, str) else image,
        conversations=turns,
        answers=answers,
        source=source,
        split=split,
        meta={**(extra or {}), **{key: value for key, value in row.items() if key not in held}},
        form=Form(derived_id=own is None),
    )


_ROWS_TRIED = 50
Names = Callable[[Mapping[str, Any]], Sequence[str]]


@dataclass(frozen=True)
class Placing:
    """The answer.

    Attributes:
        root: the folder that image paths are relative to.
        name: gives a row's path below it, '' for a row without an image.
    """

    root: Path
    name: Callable[[Mapping[str, Any]], str]


def place(
    settings: SourceSettings, rows: Iterable[Value | BadRow], names: Names, folders: Sequence[str] = ("images",)
) -> Placing:
    """The folder and the way of naming by which most of the first 50 rows' images exist.

    Args:
        names: a row's possible paths, always as many and in the same order, [] for none; the first
            is taken where no file tells. Raises ValueError for a row that names no image.
        folders: tried as image root after the location's own folder, in it and beside it.

    Raises:
        UserError: the recipe's ``image_root`` is not there.
    """
    location = Path(settings.location)
    folder = location if location.is_dir() else location.parent
    given = given_root(settings)
    beside = [base / name for base in (folder, folder.parent) for name in folders]
    roots = [given] if given is not None else [folder, *beside]
    first = [offered for row in itertools.islice(rows, _ROWS_TRIED) if (offered := _offered(row, names))]
    ways = range(max(map(len, first), default=1))
    _, root, way = max(
        ((_hits(root, way, first), root, way) for root in roots for way in ways), key=lambda found: found[0]
    )

    def name(row: Mapping[str, Any]) -> str:
        offered = names(row)
        return offered[way] if offered else ""

    return Placing(root, name)


def _offered(row: Value | BadRow, names: Names) -> Sequence[str]:
    if isinstance(row, BadRow) or not isinstance(row.value, dict):
        return []
    try:
        return names(row.value)
    except ValueError:
        return []


def _hits(root: Path, way: int, first: list[Sequence[str]]) -> int:
    return sum(is_file(root, names[way]) for names in first if way < len(names))


_USED = 1  # lowest bit of a stored number; the others are the offset


class Partner:
    """Rows of ``document[key]`` by their ``field``.

    As long as both files have the same order, as the published ones do, they are read in step.
    From the first row out of step on, a table of byte offsets (24 bytes a row) finds the others.
    """

    def __init__(self, path: Path, key: str, field: str) -> None:
        self.path, self._key, self._field = path, key, field
        self._rows = iter_document(path, key)
        self._next: Value | BadRow | None = None
        self._read_to = -1  # offset of the last row that was read in step
        self._last: dict[str, Any] = {}
        self._index: HashIndex | None = None

    def find(self, own: str | int) -> dict[str, Any] | None:
        """The row with that id; None if there is none."""
        if self._last.get(self._field) == own:  # several questions about one image
            return self._last
        found = self._in_step(own) if self._index is None else None
        if found is None:
            self._index = self._index or self._offsets()
            found = self._looked_up(own, self._index)
        self._last = found or {}
        return found

    def _in_step(self, own: str | int) -> dict[str, Any] | None:
        self._next = self._next or next(self._rows, None)
        if not isinstance(self._next, Value) or _id_of(self._next, self._field) != own:
            return None
        found: dict[str, Any] = self._next.value
        self._read_to, self._next = self._next.offset, None
        return found

    def _looked_up(self, own: str | int, index: HashIndex) -> dict[str, Any] | None:
        stored = index.get(str(own))
        value = read_at(self.path, stored >> 1) if stored is not None else None
        if stored is None or not isinstance(value, dict) or value.get(self._field) != own:
            return None
        index.put(str(own), stored | _USED)
        return value

    def left_over(self) -> Iterator[BadRow]:
        """What no ``find`` has returned: rows of ids that were never asked for, or of no id, or of one id again."""
        if self._index is None:
            if self._next is not None:
                yield self._unused(self._next)
            for row in self._rows:
                yield self._unused(row)
            return
        for row in iter_document(self.path, self._key):
            own = None if isinstance(row, BadRow) else _id_of(row, self._field)
            if isinstance(row, BadRow) or own is None or self._index.get(str(own)) != (row.offset << 1) | _USED:
                yield self._unused(row)

    def _offsets(self) -> HashIndex:
        index = HashIndex()
        for row in iter_document(self.path, self._key):
            if isinstance(row, Value) and (own := _id_of(row, self._field)) is not None:
                index.add(str(own), row.offset << 1 | (_USED if row.offset <= self._read_to else 0))
        return index

    def _unused(self, row: Value | BadRow) -> BadRow:
        if isinstance(row, BadRow):
            return row
        own = _id_of(row, self._field)
        about = f"{self._field} {own!r} belongs to no row" if own is not None else f"no {self._field!r}"
        return BadRow(row.where, f"{about}, or was there before", row.position)


def _id_of(row: Value, field: str) -> str | int | None:
    found = row.value.get(field) if isinstance(row.value, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


_START = 4096
_NAMES = 10_000
_ROWS_PROBED = 100


@dataclass(frozen=True)
class Probe:
    """A first look at a location, of bounded size whatever lies there.

    Attributes:
        location: as the user wrote it.
        path: the same as a path; need not exist (``hub:…``, a package's name).
        is_folder, is_file: what stands there.
        names: of a folder, the names in it (the first 10,000).
        start: of a file, its first 4 KiB.
        document: of a file that is one JSON object, its keys; scalars whole, of arrays the first
            element, of objects the first 16 members.
        first: the first readable row of a table, JSON array or JSONL file; of a document on one
            line, which may be JSONL of one row, itself; else empty.
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
        return self.start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")

    def element(self, key: str) -> Mapping[str, Any]:
        """The first element of the document's list ``key`` if that is an object, else empty."""
        return as_object(self.document.get(key))

    def member(self) -> Mapping[str, Any]:
        """The value of the document's first key if that is an object, else empty."""
        return as_object(next(iter(self.document.values()), None))


def as_object(value: Any) -> Mapping[str, Any]:
    """``value``, or its first element, if that is an object; else empty."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, dict) else {}


def take_probe(location: str) -> Probe:
    """Look at a location; never raises for what stands there."""
    path = Path(location)
    try:
        if path.is_dir():
            names = frozenset(entry.name for entry in itertools.islice(path.iterdir(), _NAMES))
            return Probe(location, path, is_folder=True, names=names)
        if not path.is_file():
            return Probe(location, path)
        with path.open("rb") as handle:
            start = handle.read(_START)
        document = document_head(path)
    except (OSError, ValueError) as error:  # no permission, or a name that no file can have
        return Probe(location, path, trouble=str(error))
    try:
        first, trouble = _first(path, start, document), ""
    except UserError as error:
        first, trouble = {}, str(error).removeprefix(f"{path}: ")
    return Probe(location, path, False, True, frozenset(), start, document, first, trouble)


def _first(path: Path, start: bytes, document: Mapping[str, Any]) -> Mapping[str, Any]:
    from curate.readers.tables import iter_rows

    if document:
        return document if b"\n" not in start.strip() else {}
    if b"\0" in start and not start.startswith(b"PAR1"):  # an archive or the like, without lines
        return {}
    rows = itertools.islice(iter_rows(path), _ROWS_PROBED)
    return next((row[2] for row in rows if not isinstance(row, BadRow)), {})


_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SPLIT_IN_NAME = re.compile(r"(train|training|validation|valid|val|dev|test|testing)(?=[-_.]|$)", re.IGNORECASE)
_SAME_SPLIT = {"training": "train", "valid": "validation", "val": "validation", "testing": "test"}
_MAX_FILES = 1_000_000


def files_of(location: str, suffixes: Sequence[str]) -> list[Path]:
    """The files that a location stands for, sorted; empty if there are none.

    A file is itself. A folder holds the files with one of ``suffixes`` in it and in its ``data`` folder.
    A pattern may have ``{000..012}`` (leading zeros are kept), ``{a,b}``, ``*``, ``**``, ``?`` and ``[]``.

    Raises:
        UserError: braces that spell more than a million files.
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
            raise UserError(f"{pattern}: spells more than {_MAX_FILES:,} files")
        step = 1 if last >= first else -1
        options = [f"{number:0{len(numbers[1])}}" for number in range(first, last + step, step)]
    before, after = pattern[: found.start()], expanded(pattern[found.end() :])
    if len(options) * len(after) > _MAX_FILES:
        raise UserError(f"{pattern}: spells more than {_MAX_FILES:,} files")
    return [f"{before}{option}{rest}" for option in options for rest in after]


def split_of(path: Path) -> str:
    """The split that a file name begins with (``train-00000-of-00002.parquet``), else ''."""
    found = _SPLIT_IN_NAME.match(path.name)
    return _SAME_SPLIT.get(found[1].lower(), found[1].lower()) if found else ""


def of_split(files: Sequence[Path], split: str) -> list[tuple[Path, str]]:
    """Files with their splits; where names tell the splits, only those of ``split`` if one is asked for."""
    named = [(file, split_of(file)) for file in files]
    if len(files) > 1 and split and any(name == _SAME_SPLIT.get(split, split) for _, name in named):
        named = [(file, name) for file, name in named if name == _SAME_SPLIT.get(split, split)]
    return [(file, split or (name if len(files) > 1 else "")) for file, name in named]
