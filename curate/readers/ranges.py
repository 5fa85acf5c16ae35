"""A file of rows cut into ranges that can be read alone.

Where a range ends follows from the lines about it, so that a line that is added, changed or removed makes no other
range a new one: they only move. A shard, or a file that cannot be cut, is one range among those of its source.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.readers.base import Reading
from curate.readers.files.arrow import PARQUET, parquet_rows
from curate.readers.files.csv_ends import CsvEnds, csv_header
from curate.readers.files.delimited import MAX_HEADER, csv_form, csv_rows_between, line_count
from curate.readers.files.encoding import encoding_of
from curate.readers.files.json import FileRows, RawRow
from curate.readers.files.rows import iter_rows
from winnow.digests import Digests
from winnow.files import read_json, sha256_file, write_state
from winnow.remote.addresses import shown
from winnow.rows.lines import MAX_LINE, parse_json
from winnow.rows.records import BadRow
from winnow.rows.repeated_keys import refuse_repeated_keys

LEAST_ROWS, MOST_ROWS = 8192, 32768  # of a range; one in ``LEAST_ROWS`` lines between them may end it
_MOST_BYTES = 32 << 20
_VERSION = 2  # raise it when the same lines are cut elsewhere
_READ, _NEWLINE = 4 << 20, 10
HERE = "winnow-5c1b6f0e:"  # stands for the file and the rows before a range, where a row of it says where it is


@dataclass(frozen=True)
class Range:
    """A range of a file.

    Attributes:
        start, end: its bytes.
        lines: how many; of Parquet, rows.
        digest: of its bytes; in a CSV file, of its header and its bytes.
        groups: the row groups of a Parquet file.
        header: bytes of the header of a CSV file.
        whole: it is the whole file; then ``start``, ``end`` and ``lines`` are 0.
    """

    start: int
    end: int
    lines: int
    digest: str
    groups: tuple[int, ...] = ()
    header: int = 0
    whole: bool = False

    def where(self, path: Path) -> str:
        """What the place of a row begins with, before the number of its line or row in the file, if it has one."""
        if self.whole:
            return shown(path)
        return f"{shown(path)}: row " if self.groups else f"{shown(path)}:"


def ranges_of(reading: Reading, known: Sequence[Range] = ()) -> list[Range] | None:
    """The ranges of a reading's file, in order; None if it has to be read as a whole.

    Args:
        known: those that it had when it was cut before, which are looked at again but not cut.
    """
    form = _form(reading)
    if reading.file is None or form is None:
        return None
    if form == "lines":
        return _cut_lines(reading.file, known)
    if form == "csv":
        return _cut_csv(reading.file, known)
    return _cut_groups(reading.file) if _is_parquet(reading.file) else None


def _form(reading: Reading) -> str | None:
    """The form of a reading's file, as of ``FileRows``; None if it has to be read as a whole."""
    rows = reading.rows
    return rows.form if isinstance(rows, FileRows) and rows.copyable else None


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(len(PARQUET)) == PARQUET


def _cut_groups(path: Path) -> list[Range] | None:
    """Ranges of whole row groups; None if one of these is too large, or the file is broken."""
    try:
        with pq.ParquetFile(path) as table, path.open("rb") as handle:
            meta = table.metadata
            kind = hashlib.sha256(table.schema_arrow.serialize())
            groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
            if any(group.num_rows > 4 * MOST_ROWS for group in groups):
                return None
            found: list[Range] = []
            begun: list[int] = []
            for number in range(len(groups)):
                begun.append(number)
                if number + 1 == len(groups) or sum(groups[one].num_rows for one in begun) >= LEAST_ROWS:
                    found.append(_range_of_groups(handle, kind.copy(), [groups[one] for one in begun], tuple(begun)))
                    begun = []
    except (OSError, pa.ArrowException):
        return None
    return found


def _range_of_groups(handle: io.BufferedReader, digest: Any, groups: Sequence[Any], numbers: tuple[int, ...]) -> Range:
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    begins = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    pieces = [(begin, column.total_compressed_size) for begin, column in zip(begins, columns, strict=True)]
    for begin, size in pieces:
        handle.seek(begin)
        digest.update(handle.read(size))
    rows = sum(group.num_rows for group in groups)
    end = max((begin + size for begin, size in pieces), default=0)
    return Range(min(begins, default=0), end, rows, digest.hexdigest(), numbers)


def _cut_csv(path: Path, known: Sequence[Range] = ()) -> list[Range] | None:
    """Ranges of whole records; None if it is not sure where these end, or one is too long."""
    if encoding_of(path) != "utf-8":
        return None
    delimiter = csv_form(path).delimiter
    with path.open("rb") as handle:
        header = csv_header(handle.read(MAX_HEADER), delimiter)
    return _cut_lines(path, known, header, functools.partial(CsvEnds, delimiter)) if header is not None else None


Ends = Callable[[bytes], NDArray[np.int64] | None]  # where lines end in one block after another; None: not sure


def _line_ends(block: bytes) -> NDArray[np.int64]:
    return np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE) + 1


def _cut_lines(
    path: Path, known: Sequence[Range] = (), header: bytes = b"", ends_in: Callable[[], Ends] = lambda: _line_ends
) -> list[Range] | None:
    """Ranges of a file of lines, or of the records of a CSV file; None if one of these is too long to be read.

    Args:
        header: of a CSV file.
        ends_in: makes an ``Ends`` for blocks from the beginning of a range on.
    """
    found: list[Range] = []
    with path.open("rb") as handle:
        earlier = _Earlier(handle, known, header)
        while True:
            while (same := earlier.at(found[-1].end if found else 0)) is not None:
                found.append(same)
            for part in _new_ranges(handle, found[-1].end if found else 0, header, ends_in()):
                if part is None:
                    return None
                found.append(part)
                if earlier.may_have(part.end):
                    break
            else:
                return found


def _new_ranges(handle: io.BufferedReader, start: int, header: bytes, ends_in: Ends) -> Iterator[Range | None]:
    """The ranges from a place on where one begins; the last is None if a line is too long to be read."""
    begun = _Begun(start, header)
    handle.seek(start)
    if header and not start:  # may begin with a byte order mark, which is no part of a cell
        begun.add(handle.read(len(header)), 0)
    for block in iter(lambda: handle.read(_READ), b""):
        ends = ends_in(block)
        if ends is None or np.diff(ends, prepend=-begun.torn, append=len(block)).max() >= MAX_LINE:
            yield None
            return
        done = at = 0  # lines and bytes of the block that are in a range
        while (last := begun.last_line(block, ends, done, at)) is not None:
            end = int(ends[last])
            begun.add(block[at:end], last + 1 - done)
            ended = begun.range()
            yield ended
            begun, done, at = _Begun(ended.end, header), last + 1, end
        begun.add(block[at:], len(ends) - done)
        begun.tear(block[ends[-1] :] if len(ends) else block, starts=len(ends) > 0)
    if begun.size:
        begun.lines += begun.torn > 0
        yield begun.range()


def _digest(start: int, header: bytes) -> Any:
    """That of the bytes of a range begins so: other columns make other rows of the same bytes."""
    return hashlib.sha256(header if start else b"")


class _Earlier:
    """The ranges that a file had, each of them sought where it was, and as far from the end of the file as it was.

    A range ends where its own bytes say, so one whose bytes are there from the beginning of a range on is one again;
    the last one ended with the file.
    """

    def __init__(self, handle: io.BufferedReader, known: Sequence[Range], header: bytes) -> None:
        known = [part for part in known if part.header == len(header) and not part.groups]
        self._handle, self._header = handle, header
        self._size = os.fstat(handle.fileno()).st_size
        self._from_end = {known[-1].end - part.start: part for part in known}
        self._from_start = {part.start: part for part in known[:-1]}

    def may_have(self, start: int) -> bool:
        """Whether there is one to seek at a place."""
        return start in self._from_start or self._size - start in self._from_end

    def at(self, start: int) -> Range | None:
        """The range from a place on; None if none of the earlier ones is there."""
        sought = (self._from_start.get(start), self._from_end.get(self._size - start))
        for part in dict.fromkeys(filter(None, sought)):
            size = part.end - part.start
            self._handle.seek(start)
            digest = _digest(start, self._header)
            digest.update(self._handle.read(size))
            if digest.hexdigest() == part.digest:
                return replace(part, start=start, end=start + size)
        return None


class _Begun:
    """A range whose end is not found yet.

    Attributes:
        start: its first byte; size: bytes so far; rows: of these, the whole ones; lines: that these take.
        torn: bytes of a last row that goes on.
    """

    def __init__(self, start: int, header: bytes) -> None:
        self.start, self.size, self.rows, self.lines, self.torn = start, 0, 0, 0, 0
        self._header, self._last = len(header), b""
        self._digest, self._checksum = _digest(start, header), 0

    def add(self, data: bytes, rows: int) -> None:
        """The range goes on."""
        self._digest.update(data)
        self.size, self.rows = self.size + len(data), self.rows + rows
        self.lines += line_count(data) if self._header else rows
        if self._header and self._last == b"\r" and data.startswith(b"\n"):  # CR LF, cut between two blocks
            self.lines -= 1
        self._last = data[-1:] or self._last

    def tear(self, data: bytes, *, starts: bool) -> None:
        """The end of the block, which may begin a line or be the middle of one."""
        self._checksum = zlib.crc32(data, 0 if starts else self._checksum)
        self.torn = len(data) if starts else self.torn + len(data)

    def last_line(self, block: bytes, ends: NDArray[np.int64], done: int, at: int) -> int | None:
        """The number of the row in the block that ends the range; None if it is not there.

        Args:
            ends: of the rows; done: how many are in earlier ranges, and ``at`` their bytes.
        """
        full = int(np.searchsorted(ends, at + _MOST_BYTES - self.size))
        most = min(done + MOST_ROWS - self.rows - 1, full)
        least = done + max(LEAST_ROWS - self.rows, 1) - 1
        for number in range(least, min(most, len(ends))):
            first = int(ends[number - 1]) if number else 0
            line = zlib.crc32(block[first : int(ends[number])], self._checksum if not number else 0)
            if line % LEAST_ROWS == 0:
                return number
        return most if most < len(ends) else None

    def range(self) -> Range:
        """It ends here."""
        end, digest = self.start + self.size, self._digest.hexdigest()
        return Range(self.start, end, self.lines, digest, header=self._header)


def rows_in(reading: Reading, part: Range) -> Iterable[RawRow | BadRow]:
    """The rows of a range; where they are is said from its beginning, after ``HERE``, unless it is the whole file."""
    assert reading.file is not None
    if not part.whole:
        return _rows_between(reading.file, part)
    return iter_rows(reading.file) if isinstance(reading.rows, FileRows) else reading.rows


def _rows_between(path: Path, part: Range) -> Iterator[RawRow | BadRow]:
    if part.groups:
        yield from parquet_rows(path, part.groups, HERE)
        return
    if part.header:
        yield from csv_rows_between(path, part.header, part.start, part.end, HERE)
        return
    with path.open("rb") as handle:
        handle.seek(part.start)
        data = handle.read(part.end - part.start)
    position = 0
    for number, line in enumerate(io.BytesIO(data), start=1):
        if part.start == 0 and number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        where = f"{HERE}{number}"
        try:
            value = _parsed(line)
            yield (
                RawRow(value, where, position)
                if isinstance(value, dict)
                else BadRow(where, "not a JSON object", position)
            )
        except ValueError as error:
            yield BadRow(where, f"not JSON ({error})", position)
        position += 1


_LONG = b"0" * 19  # digits of the shortest whole number beyond 64 bits
_DIGITS = bytes(48 if 48 <= code < 58 else 32 for code in range(256))
_LONGEST_SURE = 600  # bytes of a line that cannot nest too deeply for either parser


def _parsed(line: bytes) -> Any:
    """As ``parse_json``, which reads what the faster parser refuses or would read otherwise."""
    deep = len(line) > _LONGEST_SURE and line.count(b"[") + line.count(b"{") > _LONGEST_SURE // 2
    if deep or _LONG in line.translate(_DIGITS):
        return parse_json(line)
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return parse_json(line)
    refuse_repeated_keys(line, value)
    return value


class KnownRanges:
    """The ranges that files were cut into by an earlier run, by path; ``save`` keeps those of this one.

    A file with the digest that it had then is not read for it.

    Args:
        digests: the table of ``winnow.digests``, which is read if there is a file to cut.
    """

    def __init__(self, state: Path, digests: Path) -> None:
        self._state, self._limits = state, [_VERSION, LEAST_ROWS, MOST_ROWS, _MOST_BYTES, MAX_LINE]
        self._digests = functools.cache(functools.partial(Digests, digests))
        self._cut: dict[str, list[Any]] = {}
        try:
            noted = read_json(state)
            self._known = noted["files"] if noted["limits"] == self._limits else {}
        except (OSError, ValueError, TypeError, KeyError):
            self._known = {}

    def of(self, reading: Reading) -> list[Range] | None:
        """``ranges_of`` a reading; of a file that cannot be cut, all of it. None if it does not stand for itself."""
        if reading.file is None:
            return None
        found = self._cut_again(reading) if _form(reading) is not None else None
        if found is None and (reading.apart or isinstance(reading.rows, FileRows)):
            return [Range(0, 0, 0, self._digests().known(reading.file) or sha256_file(reading.file), whole=True)]
        return found

    def _cut_again(self, reading: Reading) -> list[Range] | None:
        assert reading.file is not None
        name, digest = str(reading.file), self._digests().known(reading.file)
        noted, known = self._noted(name)
        found = known if known and digest and digest == noted else ranges_of(reading, known)
        if found:
            self._cut[name] = [digest, [[*astuple(part)][:-1] for part in found]]
        return found

    def _noted(self, name: str) -> tuple[str | None, list[Range]]:
        """The digest of a file when it was cut, if it was known, and its ranges."""
        try:
            digest, parts = self._known[name]
            found = [
                Range(int(start), int(end), int(lines), str(each), tuple(map(int, groups)), int(header))
                for start, end, lines, each, groups, header in parts
            ]
        except (ValueError, TypeError, KeyError):
            return None, []
        return digest, found

    def save(self) -> None:
        """Write the state file."""
        write_state(self._state, {"limits": self._limits, "files": self._cut})
