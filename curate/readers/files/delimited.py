"""CSV and TSV files as raw rows; the delimiter is the commonest of comma, semicolon, tab and bar in the first line."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from curate.readers.files.encoding import encoding_of, open_utf8
from curate.readers.files.json import RawRow
from winnow.errors import UserError
from winnow.rows.records import BadRow

_MAX_FIELD = 64 << 20
MAX_HEADER = 1 << 20  # bytes in which the delimiter is looked for


@dataclass(frozen=True)
class CsvForm:
    """How a CSV file is written."""

    encoding: str
    delimiter: str


def csv_form(path: Path) -> CsvForm:
    """The form of a CSV file, by its letters and its first line."""
    with open_utf8(path) as handle:
        header = handle.readline(MAX_HEADER)
    return _form(encoding_of(path), header)


def _form(encoding: str, header: bytes) -> CsvForm:
    if encoding == "utf-8" and header.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    return CsvForm(encoding, max(",;\t|", key=header.decode("utf-8", "replace").count))


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One record of a CSV file.

    Attributes:
        text: as the file has it, with its line break; what is not in the file's encoding as surrogates.
        cells: its values; empty for a blank line, or if ``trouble`` says why they cannot be read.
        line: of the file where it begins, from 1.
    """

    text: str
    cells: tuple[str, ...]
    line: int
    trouble: str = ""


class _Lines(Iterator[str]):
    """The lines of a file, none longer than ``_MAX_FIELD``; ``read`` has those that were asked for."""

    def __init__(self, handle: io.TextIOWrapper) -> None:
        self._handle = handle
        self.read: list[str] = []

    def __next__(self) -> str:
        line = self._handle.readline(_MAX_FIELD)
        if not line:
            raise StopIteration
        if len(line) < _MAX_FIELD:
            self.read.append(line)
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._handle.readline(MAX_HEADER)
        raise csv.Error(f"a line of more than {_MAX_FIELD:,} characters")


def csv_records(path: Path, form: CsvForm) -> Iterator[CsvRecord]:
    """The records of a CSV file, its header and blank lines included."""
    return _records(open_utf8(path), form)


def _records(source: IO[bytes], form: CsvForm) -> Iterator[CsvRecord]:
    csv.field_size_limit(_MAX_FIELD)
    with io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        lines = _Lines(handle)
        reader = csv.reader(lines, delimiter=form.delimiter)
        while True:
            lines.read.clear()
            begins = reader.line_num + 1
            cells: list[str] = []
            trouble = ""
            try:
                cells = next(reader)
                "".join(cells).encode()
            except StopIteration:
                return
            except csv.Error as error:
                trouble = f"not CSV ({error})"
            except UnicodeEncodeError:
                trouble = f"not {form.encoding.upper()}"
            yield CsvRecord("".join(lines.read), () if trouble else tuple(cells), begins, trouble)


def csv_rows(path: Path) -> Iterator[RawRow | BadRow]:
    """Each row as an object of texts by column.

    Raises:
        UserError: the first line does not name the columns.
    """
    return _rows(path, csv_records(path, csv_form(path)), f"{path}:", 0)


def csv_rows_between(path: Path, header: int, start: int, end: int, where: str) -> Iterator[RawRow | BadRow]:
    """The rows of a part of a UTF-8 file, which begins and ends with a record.

    Args:
        header: bytes of the first record, which names the columns.
        start, end: the part, which holds the header if it begins the file.
        where: what the place of a row begins with, before the number of its line in the part.
    """
    with path.open("rb") as handle:
        names = handle.read(header) if start else b""
        handle.seek(start)
        data = io.BytesIO(names + handle.read(end - start))
    form = _form("utf-8", data.readline(MAX_HEADER))
    data.seek(0)
    return _rows(path, _records(data, form), where, line_count(names))


def line_count(data: bytes) -> int:
    """How many lines end in the bytes of a CSV file: with LF, CR, or both."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def _rows(path: Path, records: Iterator[CsvRecord], place: str, before: int) -> Iterator[RawRow | BadRow]:
    header = next(records, None)
    if header is None or not any(name.strip() for name in header.cells):
        why = header.trouble if header is not None and header.trouble else "empty"
        raise UserError(f"{path}: the first line must name the columns; it is {why}")
    names = header.cells
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise UserError(f"{path}: the first line must name each column once; {repeated[0]!r} is there twice")
    position = 0
    for record in records:
        where = f"{place}{record.line - before}"
        if record.trouble:
            yield BadRow(where, record.trouble, position)
        elif not record.cells:
            continue
        elif len(record.cells) == len(names):
            yield RawRow(dict(zip(names, record.cells, strict=True)), where, position)
        else:
            yield BadRow(where, f"has {len(record.cells)} cells, the header has {len(names)}", position)
        position += 1
