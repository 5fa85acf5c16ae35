"""The rows of one table file, whatever its format, as columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.readers.json import iter_json
from curate.sample import BadRow
from winnow.errors import UserError

_MAX_FIELD = 64 << 20
_MAX_BATCH_ROWS, _BATCH_BYTES = 1024, 8 << 20


def iter_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]] | BadRow]:
    """Rows of any table as (where, position, column to value); told apart by content, not by suffix.

    Raises:
        UserError: no such file, or not readable as a table.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as handle:
        start = handle.read(4096)
    if start[:4] == b"PAR1":
        yield from _parquet_rows(path)
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        for row in iter_json(path):
            if isinstance(row, BadRow):
                yield row
            elif isinstance(row.value, dict):
                yield row.where, row.position, row.value
            else:
                yield BadRow(row.where, "not a JSON object", row.position)
    else:
        yield from _csv_rows(path)


def _parquet_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Memory is bounded by a few of the file's pages, however large its row groups: nothing is buffered ahead.
    position = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
            for batch in table.iter_batches(batch_size=_batch_rows(table)):
                for values in batch.to_pylist():
                    yield f"{path}: row {position + 1}", position, values
                    position += 1
    except pa.ArrowException as error:
        raise UserError(f"{path}: not readable as Parquet after row {position} ({error})") from error


def _batch_rows(table: Any) -> int:
    """As many rows as hold about 8 MiB, because a row may hold an image."""
    meta = table.metadata
    size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
    return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * max(meta.num_rows, 1) // max(size, 1)))


def _csv_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]] | BadRow]:
    csv.field_size_limit(_MAX_FIELD)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        header = handle.readline()
        delimiter = (
            "\t" if header.count("\t") > header.count(",") else ";" if header.count(";") > header.count(",") else ","
        )
        handle.seek(0)
        reader = csv.reader(handle, delimiter=delimiter)
        names = next(reader, None)
        if names is None:
            return
        if len(set(names)) < len(names) or not any(name.strip() for name in names):
            raise UserError(f"{path}: the first line must name the columns, each once")
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
                    yield where, position, dict(zip(names, cells, strict=True))
                else:
                    yield BadRow(where, f"has {len(cells)} cells, the header has {len(names)}", position)
            position += 1
