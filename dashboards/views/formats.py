"""Streams of rows as CSV that a spreadsheet does not run, and as Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

# A spreadsheet takes a cell that begins so for a formula; the wide forms count in East Asian editions.
# A leading ' is doubled, so that taking one away always gives the text back.
_RISKY = "=+-@\t\r\n＝＋－＠'"
_RISKY_START = f"\\A([{_RISKY.replace('-', '')}-])"


def neutralised(text: str) -> str:
    """A text as a cell of a CSV file: with a ' before a character that would begin a formula."""
    return f"'{text}" if text[:1] and text[0] in _RISKY else text


def restored(text: str) -> str:
    """The text of a cell that ``neutralised`` made."""
    return text.removeprefix("'")


def as_cells(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose columns fit in CSV: texts neutralised, lists and structures as JSON, names neutralised."""
    columns = [_cells(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=[neutralised(name) for name in batch.schema.names])


def _cells(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        texts = [
            None if value is None else json.dumps(value, ensure_ascii=False, default=str)
            for value in column.to_pylist()
        ]
        return pa.array(texts, pa.string())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return pc.replace_substring_regex(column.cast(pa.large_string()), _RISKY_START, "'\\1")
    return column


class _Pieces(io.RawIOBase):
    """A file that hands out what was written to it."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._written.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """What was written since the last call."""
        piece, self._written = b"".join(self._written), []
        return piece


def csv_pieces(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    """CSV in UTF-8 with a line of names; texts are quoted, a missing value is an empty cell without quotes."""
    file = _Pieces()
    empty = as_cells(pa.RecordBatch.from_pylist([], schema=reader.schema))
    with pc_csv.CSVWriter(pa.PythonFile(file, mode="w"), empty.schema) as writer:
        yield file.take()
        for batch in reader:
            writer.write_batch(as_cells(batch).cast(empty.schema))
            yield file.take()
    yield file.take()


def parquet_pieces(reader: pa.RecordBatchReader) -> Iterator[bytes]:
    """A Parquet file, a row group for each batch; nothing is changed."""
    file = _Pieces()
    with pq.ParquetWriter(pa.PythonFile(file, mode="w"), reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            yield file.take()
    yield file.take()


FORMATS: dict[str, tuple[str, Callable[[pa.RecordBatchReader], Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", csv_pieces),
    "parquet": ("application/vnd.apache.parquet", parquet_pieces),
}
