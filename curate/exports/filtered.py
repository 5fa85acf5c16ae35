"""One file of rows without some of its rows: same format, the other rows as they were.

JSON, JSONL and CSV rows are copied byte for byte. Parquet keeps its schema, metadata, compression and values.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from curate.readers.files.delimited import csv_form, csv_records
from curate.readers.files.json import FileRows
from curate.readers.files.json_text import JsonText
from winnow.errors import UserError
from winnow.files import atomic_path
from winnow.rows.lines import json_lines


class Change(NamedTuple):
    """A row as it was read, and as a reviewer has corrected it."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]


Changes = Mapping[int, Change]  # by the position of the row
_GAP = b" \t\r\n,"


def write_filtered(source: FileRows, target: Path, kept: Iterable[int], changes: Changes) -> None:
    """Write the rows at ``kept`` of a file to ``target``.

    Args:
        source: the file; its rows are not used.
        kept: positions (``RawRow.position``) in ascending order.
        changes: rows that a reviewer has corrected.
    """
    with source.path.open("rb") as handle:
        start = handle.read(4096)
    first = start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    copy: Callable[[FileRows, Path, Iterator[int], Changes], None]
    if start.startswith(b"PAR1"):
        copy = _copy_parquet
    elif source.document or first == b"[":
        copy = _copy_json
    else:
        copy = _copy_lines if first == b"{" else _copy_csv
    with atomic_path(target) as temporary:
        copy(source, temporary, iter(kept), changes)


def _copy_lines(source: FileRows, target: Path, kept: Iterator[int], changes: Changes) -> None:
    wanted = next(kept, None)
    lines = (line for _, line in json_lines(source.path) if line.strip())
    with target.open("wb") as out:
        if _has_mark(source.path):
            out.write(codecs.BOM_UTF8)
        for position, line in enumerate(lines):
            if position != wanted:
                continue
            end = line[len(line.rstrip(b"\r\n")) :]
            out.write(_as_json(changes[position].after) + end if position in changes else line)
            wanted = next(kept, None)


def _has_mark(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(3) == codecs.BOM_UTF8


def _copy_json(source: FileRows, target: Path, kept: Iterator[int], changes: Changes) -> None:
    """A list, or what an object holds under a key. What stands before, between and after the rows is copied too."""
    wanted = next(kept, None)
    with source.path.open("rb") as handle, source.path.open("rb") as again, target.open("wb") as out:
        text = JsonText(handle)
        if source.key is not None:
            for name in text.entries():
                if name == source.key:
                    break
                text.skip()
        text.skip_blanks()
        end = text.tell() + 1  # behind the bracket
        out.write(again.read(end))
        gap_of_first: bytes | None = b""
        for position, _ in enumerate(text.entries()):
            value_begins = text.tell()
            text.value()
            begins, end = end, text.tell()
            if position and position != wanted:
                continue
            again.seek(begins)
            before = again.read(value_begins - begins)  # blanks and a comma, and the name of a member
            gap = before[: len(before) - len(before.lstrip(_GAP))]
            if position == 0:
                gap_of_first = gap  # has no comma
            if position == wanted:
                out.write((gap if gap_of_first is None else gap_of_first) + before[len(gap) :])
                out.write(_as_json(changes[position].after) if position in changes else again.read(end - value_begins))
                gap_of_first, wanted = None, next(kept, None)
        again.seek(end)
        while block := again.read(1 << 20):
            out.write(block)


def _as_json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(values), ensure_ascii=False).encode()


def _copy_csv(source: FileRows, target: Path, kept: Iterator[int], changes: Changes) -> None:
    form = csv_form(source.path)
    records = csv_records(source.path, form)
    header = next(records, None)
    rows = (record for record in records if record.cells or record.trouble)
    wanted = next(kept, None)
    with source.path.open("rb") as handle:
        big_endian = handle.read(2) == codecs.BOM_UTF16_BE
    encoding = "utf-16-be" if big_endian else form.encoding
    with target.open("w", encoding=encoding, errors="surrogateescape", newline="") as out:
        if header is None:
            return
        out.write("\ufeff" if big_endian else "")
        out.write(header.text)
        for position, record in enumerate(rows):
            if position != wanted:
                continue
            text = record.text
            if position in changes:
                line = io.StringIO()
                csv.writer(line, delimiter=form.delimiter, lineterminator=text[len(text.rstrip("\r\n")) :]).writerow(
                    [changes[position].after[name] for name in header.cells]
                )
                text = line.getvalue()
            out.write(text)
            wanted = next(kept, None)


def _copy_parquet(source: FileRows, target: Path, kept: Iterator[int], changes: Changes) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate.readers.files.arrow import batch_rows

    wanted = next(kept, None)
    with pq.ParquetFile(source.path, pre_buffer=False, buffer_size=1 << 20) as table:
        schema = table.schema_arrow
        with pq.ParquetWriter(target, schema, compression=_compressions(table)) as out:
            first = 0
            for batch in table.iter_batches(batch_size=batch_rows(table)):
                here = []
                while wanted is not None and wanted < first + batch.num_rows:
                    here.append(wanted - first)
                    wanted = next(kept, None)
                corrected = {number: changes[first + number] for number in here if first + number in changes}
                if corrected:
                    batch = _changed(batch, corrected)
                if here:
                    out.write_batch(batch.take(pa.array(here)))
                first += batch.num_rows


def _compressions(table: Any) -> dict[str, str] | str:
    """Of each column, as the first row group has it."""
    if not table.metadata.num_row_groups:
        return "snappy"
    group = table.metadata.row_group(0)
    columns = (group.column(number) for number in range(group.num_columns))
    return {column.path_in_schema: column.compression.replace("UNCOMPRESSED", "NONE") for column in columns}


def _changed(batch: Any, corrected: Changes) -> Any:
    """The batch with other values in some rows."""
    import pyarrow as pa

    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        new = {
            n: after[field.name] for n, (before, after) in corrected.items() if before[field.name] != after[field.name]
        }
        values = [new.get(n, value) for n, value in enumerate(column.to_pylist())] if new else []
        try:
            columns.append(pa.array(values, type=field.type) if new else column)
        except (pa.ArrowException, TypeError) as error:
            raise UserError(f"a correction does not fit the column {field.name!r} ({error})") from error
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
