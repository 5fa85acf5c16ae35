"""CSV and TSV files as raw rows; the delimiter is the commonest of comma, semicolon and tab in the first line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from curate.readers.encoding import open_utf8
from curate.readers.json import RawRow
from winnow.errors import UserError
from winnow.records import BadRow

_MAX_FIELD = 64 << 20
_MAX_HEADER = 1 << 20


def csv_rows(path: Path) -> Iterator[RawRow | BadRow]:
    """Each row as an object of texts by column.

    Raises:
        UserError: the first line does not name the columns.
    """
    csv.field_size_limit(_MAX_FIELD)
    with io.TextIOWrapper(open_utf8(path), encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        first = handle.readline(_MAX_HEADER)
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(_again(first, handle), delimiter=delimiter)
        try:
            names = next(reader, [])
        except csv.Error as error:
            raise UserError(f"{path}: not readable as CSV ({error})") from None
        if not any(name.strip() for name in names):
            raise UserError(f"{path}: the first line must name the columns; it is empty")
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise UserError(f"{path}: the first line must name each column once; {repeated[0]!r} is there twice")
        position = 0
        while True:
            where = f"{path}:{reader.line_num + 1}"
            try:
                cells = next(reader)
                if not cells:
                    continue
                "".join(cells).encode()
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(where, f"not CSV ({error})", position)
            except UnicodeEncodeError:
                yield BadRow(where, "not UTF-8", position)
            else:
                if len(cells) == len(names):
                    yield RawRow(dict(zip(names, cells, strict=True)), where, position)
                else:
                    yield BadRow(where, f"has {len(cells)} cells, the header has {len(names)}", position)
            position += 1


def _again(first: str, handle: io.TextIOWrapper) -> Iterator[str]:
    """The file from its first line, which has been read: a packed file cannot always go back."""
    if first:
        yield first
    yield from handle
