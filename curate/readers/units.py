"""What is read at once: a range of a file, a file, or a source. Each unit leaves parts of rows and a note about them.

The rows of a range do not know what is before them: ``curate.readers.placing`` gives them what depends on that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.readers import LAYOUTS
from curate.readers.alone import NotAloneError, alone
from curate.readers.base import ImageNames, Reading, folder_of, name_in, with_own_files
from curate.readers.below_root import AnotherFolderError, Below
from curate.readers.facts import Counted, Counting
from curate.readers.fetched import here
from curate.readers.files.json import RawRow
from curate.readers.images.store import ImageStore, stored
from curate.readers.placing import bad_row_in_range
from curate.readers.plain_rows import PlainRows
from curate.readers.ranges import HERE, Range, rows_in
from curate.readers.rows import ROWS, Row, batches_of, row_of
from curate.readers.spelling import Root
from curate.readers.storable import encodable, with_storable_meta
from curate.settings.sources import SourceSettings
from winnow.errors import UserError, disk_problem
from winnow.files import read_json, sha256_file, write_state
from winnow.media.locate import is_url
from winnow.parquet.table_parts import Item
from winnow.parquet.tables import write_parquet
from winnow.remote.addresses import in_own_mirror, is_remote, shown
from winnow.rows.records import BadRow, Sample

_ORDERED = ("fields", "notes")
_ROWS_A_PART = 16_384  # of a source or file that is read as a whole
_SOURCE, _SPLIT, _RECORD = map(ROWS.names.index, ("source", "split", "record"))


@dataclass(frozen=True)
class Unit:
    """What was made of a unit.

    Attributes:
        parts: files of its rows.
        rows, sizes, digests: of each part its rows, bytes and sha256; equal digests, equal rows, wherever they lie.
        counted: what its rows said.
        first_bad: where its first bad row is, or the number of its line in the range, and why it could not be read.
        lines: of a range, how many.
        positions: rows of the source that it covers, skipped ones among them.
        last: source and split of its last good row; empty if it has none.
        derived: whether ids of rows were made from their content.
        remote: whether a row names an image by its address, which a fetcher may have to fetch.
        spelled: paths whose spelling depends on the files below the image root, and their spelling.
        refused: why its rows are not there: ``whole`` if the source has to be read as a whole, or ``folder``.
        folder: where an image lies for which the common root was not chosen; '' is the image store.
    """

    parts: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()
    counted: Counted = field(default_factory=Counted)
    first_bad: tuple[int | str, str] = ("", "")
    lines: int = 0
    positions: int = 0
    last: tuple[str, ...] = ()
    derived: bool = False
    remote: bool = False
    spelled: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    folder: str = ""

    @classmethod
    def of(cls, parts: Sequence[Path], rows: Sequence[int], **more: Any) -> Unit:
        """The unit that has left these parts."""
        sizes, digests = (part.stat().st_size for part in parts), map(sha256_file, parts)
        return cls(tuple(part.name for part in parts), tuple(rows), tuple(sizes), tuple(digests), **more)


def read_unit(path: Path) -> Unit | None:
    """The note of a unit; None if there is none that can be read."""
    try:
        found = read_json(path)
        counted = found["counted"]
        ordered = {name: dict(counted[name]) for name in _ORDERED}
        return Unit(**{**found, "counted": Counted(**{**counted, **ordered})})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_unit(path: Path, unit: Unit) -> None:
    """Atomically write the note of a unit, after its parts."""
    counted = dataclasses.asdict(unit.counted)
    ordered = {name: list(counted[name].items()) for name in _ORDERED}  # JSON files here sort names
    try:
        write_state(path, {**dataclasses.asdict(unit), "counted": {**counted, **ordered}})
    except OSError as error:
        raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error


@dataclass(frozen=True)
class RangeOfRows:
    """A range of a source.

    Attributes:
        layout, settings, images: of the source.
        reading: the number of its file among the source's.
        version: changes when a file of the source does; what was prepared to read an earlier one is not used again.
        range: of the file.
        below: the common root.
        store: the folder of the image store.
        max_bytes: of an embedded image.
    """

    layout: str
    settings: SourceSettings
    images: ImageNames
    reading: int
    version: str
    range: Range
    below: Below
    store: Path
    max_bytes: int


def read_range(item: Item) -> None:
    """Write the rows of a range and, at the item's path, the note about them."""
    path, (asked,) = item
    try:
        reader = _RangeReader(asked)
        if asked.range.whole:
            with contextlib.nullcontext() if reader.reading.apart else alone():
                unit = reader.unit(*write_parts(path, reader.rows()))
        else:
            part = path.with_suffix(".parquet")
            with alone(), _no_collection():
                write_parquet(part, batches_of(reader.rows()), ROWS)
            unit = reader.unit([part], [reader.count])
    except AnotherFolderError as other:
        unit = Unit(refused="folder", folder="" if other.folder == asked.below.stored else other.folder)
    except (NotAloneError, UserError):  # reading the whole source says in which of its rows
        unit = Unit(refused="whole")
    write_unit(path, unit)


def write_parts(note: Path, rows: Iterator[Row]) -> tuple[list[Path], list[int]]:
    """Write rows to files beside the note about them; the files, at least one, and how many rows each has."""
    parts: list[Path] = []
    counts: list[int] = []
    while (some := list(itertools.islice(rows, _ROWS_A_PART))) or not parts:
        parts.append(note.with_name(f"{note.stem}-{len(parts)}.parquet"))
        counts.append(len(some))
        write_parquet(parts[-1], batches_of(some), ROWS)
    return parts, counts


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no circles of objects in the block: rows have none, and looking takes a fifth of the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


@functools.lru_cache(maxsize=2)
def _readings(layout: str, settings: str, version: str) -> tuple[Reading, ...]:
    """The readings of a source, which are prepared once in a process."""
    return tuple(LAYOUTS[layout].readings(here(SourceSettings.model_validate_json(settings))))


class _RangeReader:
    """Makes the rows of a range, and counts what they say."""

    def __init__(self, asked: RangeOfRows) -> None:
        readings = _readings(asked.layout, asked.settings.model_dump_json(), asked.version)
        self._asked, self.reading = asked, readings[asked.reading]
        self._counting = Counting("", "", limited=False)
        self._root = Root(in_own_mirror(str(asked.images.root)), folder_of(here(asked.settings)))
        self._root.asked = {}
        self._first_bad: tuple[int | str, str] = ("", "")
        self._positions = 0
        self._last: tuple[str, ...] = ()
        self._derived = self._remote = False

    def rows(self) -> Iterator[Row]:
        """Its rows.

        Raises:
            NotAloneError: it cannot be read without other rows.
            AnotherFolderError: see ``Below.put``.
            UserError: the source has no readable rows, or an image cannot be stored.
        """
        asked, reading, choice = self._asked, self.reading, self._asked.images.choice
        name_of = functools.partial(name_in, reading, choice[asked.reading] if asked.reading < len(choice) else 0)
        store = ImageStore(asked.store)
        of_lines = not (asked.range.groups or asked.range.whole)
        plain = PlainRows(reading.plain if of_lines else None, self._root, asked.below, self._counting.counted())
        for position, raw in enumerate(rows_in(reading, asked.range)):
            self._positions += 1
            value = raw.value if isinstance(raw, RawRow) else None
            row = plain.row(value) if isinstance(value, dict) else None
            if row is not None and HERE not in row[_RECORD]:
                self._last = (row[_SOURCE], row[_SPLIT])
                yield row
                continue
            made: Sample | BadRow | None
            try:
                made = raw if isinstance(raw, BadRow) else reading.to_sample(raw, name_of)
            except ValueError as error:
                made = BadRow(raw.where, str(error), position)
            if made is not None:
                made = encodable(made, raw.where, position)
                yield self._bad_row(made, position) if isinstance(made, BadRow) else self._row(made, store)

    def _row(self, sample: Sample, store: ImageStore) -> Row:
        self._last = (sample.source, sample.split)
        sample = with_own_files(sample, self._root, HERE, 0)
        self._remote = self._remote or any(is_url(path) or is_remote(path) for path in sample.image)
        if sample.embedded:
            sample = stored(sample, store, self._asked.max_bytes)
        sample = self._asked.below.put(sample)
        sample = with_storable_meta(sample)
        self._counting.add(sample)
        self._derived = self._derived or sample.form.derived_id
        row = row_of(sample)
        if HERE in row[_RECORD] or any(HERE in note for note in sample.notes):
            raise NotAloneError  # it says where it is
        return row

    def _bad_row(self, row: BadRow, position: int) -> Row:
        if HERE in row.reason:
            raise NotAloneError
        self._counting.add(row)
        place: int | str = shown(row.where) if self._asked.range.whole else int(row.where.removeprefix(HERE))
        self._first_bad = self._first_bad if self._first_bad[0] else (place, row.reason)
        return bad_row_in_range(place, row, position, self._last)

    @property
    def count(self) -> int:
        """Rows so far."""
        counted = self._counting.counted()
        return counted.rows + counted.bad_rows

    def unit(self, parts: Sequence[Path], counts: Sequence[int]) -> Unit:
        """The note about the rows.

        Args:
            parts, counts: files with the rows, and how many each has.
        """
        return Unit.of(
            parts,
            counts,
            counted=self._counting.counted(),
            first_bad=self._first_bad,
            lines=self._asked.range.lines,
            positions=self._positions,
            last=self._last,
            derived=self._derived,
            remote=self._remote,
            spelled=self._root.asked or {},
        )
