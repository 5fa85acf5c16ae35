"""CSV that a spreadsheet does not run, and Parquet that changes nothing."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from dashboards.views.formats import as_cells, csv_pieces, neutralised, parquet_pieces, restored

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_texts = st.text(max_size=30) | st.builds(str.__add__, st.sampled_from([*_STARTS, "'"]), st.text(max_size=10))
_rows = st.lists(
    st.tuples(st.none() | _texts, st.lists(_texts, max_size=3), st.none() | st.integers(-9, 9)), max_size=6
)


def _table(rows: list[tuple[str | None, list[str], int | None]]) -> pa.Table:
    schema = pa.schema([("=text", pa.string()), ("listed", pa.list_(pa.string())), ("number", pa.int64())])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def _reader(table: pa.Table) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))


@given(_texts)
def test_no_cell_begins_a_formula_and_each_can_be_restored(text: str) -> None:
    cell = neutralised(text)
    assert not cell.startswith(_STARTS)
    assert restored(cell) == text


def test_what_spreadsheets_run_is_neutralised() -> None:
    for attack in ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'):
        assert neutralised(attack) == f"'{attack}"
    assert [neutralised(text) for text in ("yes", "a-b", "", " x")] == ["yes", "a-b", "", " x"]


@given(_rows)
def test_csv_gives_every_value_back(rows: list[tuple[str | None, list[str], int | None]]) -> None:
    written = b"".join(csv_pieces(_reader(_table(rows)))).decode()
    head, *read = list(csv.reader(io.StringIO(written, newline="")))
    assert head == ["'=text", "listed", "number"]
    assert len(read) == len(rows)
    for (text, listed, number), (first, second, third) in zip(rows, read, strict=True):
        assert not first.startswith(_STARTS) and not second.startswith(_STARTS)
        assert restored(first) == (text or "") and json.loads(second) == listed
        assert third == ("" if number is None else str(number)), "numbers stay numbers"


@given(_rows)
def test_the_columns_say_the_same_as_the_function(rows: list[tuple[str | None, list[str], int | None]]) -> None:
    batch = pa.RecordBatch.from_pylist([{"text": text} for text, _, _ in rows], pa.schema([("text", pa.string())]))
    wanted = [None if text is None else neutralised(text) for text, _, _ in rows]
    assert as_cells(batch).column(0).to_pylist() == wanted
    coded = pa.RecordBatch.from_arrays([batch.column(0).dictionary_encode()], ["text"])
    assert as_cells(coded).column(0).to_pylist() == wanted


@given(_rows)
def test_parquet_changes_nothing(rows: list[tuple[str | None, list[str], int | None]]) -> None:
    table = _table(rows)
    assert pq.read_table(io.BytesIO(b"".join(parquet_pieces(_reader(table))))).equals(table)
