"""Row groups of Parquet files as pieces that can be put into another file: their bytes, and what the footer says.

A row group does not know where in the file it lies; the footer does, in Thrift's compact protocol
(https://github.com/apache/parquet-format). No library moves row groups without decoding them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.files import sha256_bytes

MAGIC = b"PAR1"
_ENDING = struct.Struct("<I4s")  # length of the footer, magic
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
# Fields of the footer, of a row group, of a column chunk and of its metadata.
_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _ROWS_OF_GROUP, _GROUP_OFFSET, _ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _METADATA, _OFFSET_INDEX, _COLUMN_INDEX = 2, 3, 4, 6
_PLACES = (9, 10, 11, 14)  # data page, index page, dictionary page, bloom filter
Fields = dict[int, tuple[int, Any]]  # number of a field → type and value


@dataclass(frozen=True)
class Entry:
    """What a footer says of a row group.

    Attributes:
        written: as it stands there.
        place: of the row group in the file; number: of those before it; rows: of it.
    """

    written: bytes
    place: int
    number: int
    rows: int

    def at(self, place: int, number: int) -> Entry:
        """The entry of the same row group elsewhere; raises ValueError if it is none."""
        if (place, number) == (self.place, self.number):
            return self
        try:
            fields, _ = _Reader(self.written).struct(0)
            return _entry(_moved(fields, place - self.place), place, number)
        except (IndexError, KeyError, TypeError, struct.error) as error:
            raise ValueError("not an entry of the footer of a Parquet file") from error


@dataclass(frozen=True)
class RowGroup:
    """A row group: its bytes, and its entry of a footer."""

    data: bytes
    entry: Entry


def encoded(rows: pa.Table, schema: pa.Schema) -> RowGroup:
    """Rows as one row group, as ``winnow.parquet.tables.write_parquet`` encodes them."""
    footer, data = _written(rows, schema)
    (fields,) = footer[_ROW_GROUPS][1][1]
    return RowGroup(data, _entry(fields, len(MAGIC), 0))


def _entry(fields: Fields, place: int, number: int) -> Entry:
    if _ORDINAL in fields:
        fields = {**fields, _ORDINAL: (_I16, number)}
    out = bytearray()
    _put_struct(out, fields)
    return Entry(bytes(out), place, number, fields[_ROWS_OF_GROUP][1])


def group_digests(path: Path) -> list[str]:
    """Hex sha256 of the bytes of each row group of a file: equal ones have equal rows."""
    found = []
    with pq.ParquetFile(path) as table, path.open("rb") as file:
        for number in range(table.num_row_groups):
            group = table.metadata.row_group(number)
            chunks = [group.column(column) for column in range(group.num_columns)]
            file.seek(min(chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks))
            found.append(sha256_bytes(file.read(sum(chunk.total_compressed_size for chunk in chunks))))
    return found


def footer_bytes(schema: pa.Schema, entries: Sequence[Entry]) -> tuple[bytes, int]:
    """The end of a file, its footer with length and magic, and where in it the first entry begins."""
    footer, _ = _written(schema.empty_table(), schema)
    footer[_NUM_ROWS] = (_I64, sum(entry.rows for entry in entries))
    footer[_ROW_GROUPS] = (_LIST, (_STRUCT, []))
    before = bytearray()
    _put_struct(before, {number: field for number, field in footer.items() if number <= _NUM_ROWS})
    out = bytearray()
    footer[_ROW_GROUPS] = (_LIST, (_STRUCT, [entry.written for entry in entries]))
    _put_struct(out, footer)
    # In place of the end of the fields stands the type of the list.
    return bytes(out) + _ENDING.pack(len(out), MAGIC), len(before) + _list_header_size(len(entries))


def _list_header_size(count: int) -> int:
    out = bytearray()
    _put(out, _LIST, (_STRUCT, [b""] * count))
    return len(out)


def _written(rows: pa.Table, schema: pa.Schema) -> tuple[Fields, bytes]:
    """Footer and row groups of a file of these rows."""
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        if rows.num_rows:
            writer.write_table(rows, row_group_size=rows.num_rows)
    whole = file.getbuffer()
    size, _ = _ENDING.unpack(whole[-_ENDING.size :])
    start = len(whole) - _ENDING.size - size
    footer, _ = _Reader(bytes(whole[start:])).struct(0)
    return footer, bytes(whole[len(MAGIC) : start])


def _moved(entry: Fields, by: int) -> Fields:
    """The entry of a row group that lies so many bytes further on."""
    kind, chunks = entry[_COLUMNS][1]
    moved = {**entry, _COLUMNS: (_LIST, (kind, [_moved_chunk(chunk, by) for chunk in chunks]))}
    if _GROUP_OFFSET in moved:
        moved[_GROUP_OFFSET] = (_I64, moved[_GROUP_OFFSET][1] + by)
    return moved


def _moved_chunk(chunk: Fields, by: int) -> Fields:
    about = dict(chunk[_METADATA][1])
    for place in _PLACES:
        if place in about:
            about[place] = (_I64, about[place][1] + by)
    moved = {**chunk, _METADATA: (_STRUCT, about)}
    if moved[_CHUNK_OFFSET][1]:  # newer writers leave 0
        moved[_CHUNK_OFFSET] = (_I64, moved[_CHUNK_OFFSET][1] + by)
    return moved


class _Reader:
    """Values of Thrift's compact protocol; each method takes a place and returns value and next place."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def struct(self, at: int) -> tuple[Fields, int]:
        fields: Fields = {}
        number = 0
        while head := self._data[at]:
            at += 1
            if head >> 4:
                number += head >> 4
            else:
                number, at = self._integer(at)
            kind = head & 15
            value, at = (kind == _TRUE, at) if kind in (_TRUE, _FALSE) else self._value(kind, at)
            fields[number] = (_TRUE if kind == _FALSE else kind, value)
        return fields, at + 1

    def _value(self, kind: int, at: int) -> tuple[Any, int]:
        if kind in (_I16, _I32, _I64):
            return self._integer(at)
        if kind == _BINARY:
            size, at = self._varint(at)
            return self._data[at : at + size], at + size
        if kind == _STRUCT:
            return self.struct(at)
        if kind in (_LIST, _SET):
            return self._list(at)
        if kind in (_BYTE, _TRUE, _FALSE):  # a truth value in a list
            return self._data[at], at + 1
        if kind == _DOUBLE:
            return self._data[at : at + 8], at + 8
        raise ValueError(f"not in a footer: Thrift type {kind}")

    def _list(self, at: int) -> tuple[tuple[int, list[Any]], int]:
        head, at = self._data[at], at + 1
        count = head >> 4
        if count == 15:
            count, at = self._varint(at)
        values = []
        for _ in range(count):
            value, at = self._value(head & 15, at)
            values.append(value)
        return (head & 15, values), at

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while (byte := self._data[at]) & 128:
            value |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
        return value | byte << shift, at + 1

    def _integer(self, at: int) -> tuple[int, int]:
        value, at = self._varint(at)
        return value >> 1 ^ -(value & 1), at


def _put_struct(out: bytearray, fields: Fields) -> None:
    before = 0
    for number, (kind, value) in sorted(fields.items()):
        written = kind if kind != _TRUE or value else _FALSE
        if number - before <= 15:
            out.append(number - before << 4 | written)
        else:
            out.append(written)
            _put_integer(out, number)
        before = number
        if kind != _TRUE:
            _put(out, kind, value)
    out.append(0)


def _put(out: bytearray, kind: int, value: Any) -> None:
    if kind in (_I16, _I32, _I64):
        _put_integer(out, value)
    elif kind == _BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind == _STRUCT:
        _put_struct(out, value)
    elif kind in (_LIST, _SET):
        of, values = value
        out.append(min(len(values), 15) << 4 | of)
        if len(values) >= 15:
            _put_varint(out, len(values))
        for each in values:
            if of == _STRUCT and isinstance(each, bytes):  # written already
                out += each
            else:
                _put(out, of, each)
    elif kind == _DOUBLE:
        out += value
    else:
        out.append(value)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _put_integer(out: bytearray, value: int) -> None:
    _put_varint(out, value << 1 ^ value >> 63)
