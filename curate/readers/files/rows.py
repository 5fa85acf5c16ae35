"""The rows of one table file: CSV, TSV, JSON, JSONL, Parquet, Arrow or xlsx; the content decides, not the suffix."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from curate.readers.files import arrow, delimited, xlsx
from curate.readers.files.encoding import encoding_of, is_gzip, open_utf8
from curate.readers.files.json import FileRows, RawRow, iter_json, rows_inside
from curate.readers.files.unreadable import what_it_is
from winnow.errors import UserError
from winnow.rows.records import BadRow

_START = 4096
_ZIP = b"PK\x03\x04"


def iter_rows(path: Path) -> FileRows:
    """Rows of any table, each an object of columns.

    Raises:
        UserError: no such file, or it is not readable as a table.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as handle:
        start = handle.read(_START)
    if start.startswith(arrow.PARQUET):
        return FileRows(path, arrow.parquet_rows(path))
    if start.startswith((arrow.ARROW_FILE, arrow.ARROW_STREAM)):
        return FileRows(path, arrow.arrow_rows(path), copyable=False)
    if start.startswith(_ZIP) and xlsx.is_workbook(path):
        return FileRows(path, xlsx.xlsx_rows(path), copyable=False)
    if start.startswith(_ZIP) and path.suffix.lower() in (".xlsx", ".xlsm"):
        raise UserError(f"{path}: is no whole xlsx workbook; copy it again, or save the sheet as CSV and give that")
    if trouble := what_it_is(start):
        raise UserError(f"{path}: {trouble}")
    if not encoding_of(path):
        raise UserError(f"{path}: is neither a table nor a text; give a CSV, JSON, Parquet, Arrow or xlsx file")
    if is_json(text_start(path)):
        found = iter_json(path)
        return dataclasses.replace(found, rows=_objects(found.rows))
    return FileRows(path, delimited.csv_rows(path), copyable=not is_gzip(path), form="csv")


def _objects(rows: Iterator[RawRow | BadRow]) -> Iterator[RawRow | BadRow]:
    for row in rows:
        if isinstance(row, RawRow) and not isinstance(row.value, dict):
            yield BadRow(row.where, "not a JSON object", row.position)
        else:
            yield row


def text_start(path: Path) -> bytes:
    """The first 4 KiB of a file; of a text as UTF-8.

    Raises:
        OSError: the file cannot be read.
        UserError: a gzip file is damaged.
    """
    with open_utf8(path) as handle:
        return handle.read(_START)


def is_json(start: bytes) -> bool:
    """Whether a text begins as JSON or JSONL does."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def notes_on(path: Path) -> list[str]:
    """What was assumed in reading a table: its encoding, its sheet, the key that its rows are under.

    Raises:
        UserError: the file cannot be read.
    """
    with path.open("rb") as handle:
        start = handle.read(_START)
    if start.startswith(_ZIP) and xlsx.is_workbook(path):
        others = xlsx.other_sheets(path)
        return [f"{path}: only the first sheet is read; not {', '.join(others)}"] if others else []
    encoding = encoding_of(path)
    notes = []
    if encoding not in ("utf-8", ""):
        notes.append(f"{path}: is not UTF-8 and is read as {encoding}; if letters are wrong, save it as UTF-8")
    inside = rows_inside(path) if encoding and is_json(text_start(path)) else None
    if inside is not None:
        under = ", ".join(map(repr, inside.keys)) or "all its members"
        under += f" in {inside.within!r}" if inside.within else ""
        notes.append(f"{path}: one JSON object; its rows are {under}")
    return notes
