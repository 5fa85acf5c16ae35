"""A table in parts: what is made again, and when it is the same table."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.parquet.table_parts import Parts, PartTask
from winnow.parquet.tables import write_parquet


def make(parts, values):
    """Bring a table of one row a part up to date; returns the values that were made."""
    tasks = {PartTask(["of", value], ()).name: value for value in values}
    missing = parts.missing(tasks)
    for name in missing:
        table = pa.table({"value": [tasks[name] % 10]})
        write_parquet(parts.folder / name, [table], table.schema)
    parts.finish([PartTask(["of", value], ()).name for value in values])
    return [tasks[name] for name in missing]


def values_of(parts):
    return [row for batch in parts.batches(["value"]) for row in batch.column("value").to_pylist()]


def test_only_what_is_new_is_made_and_what_is_left_over_goes(tmp_path):
    parts = Parts(tmp_path / "table")
    assert not parts.exists() and parts.names() == []
    assert make(parts, [1, 2, 3]) == [1, 2, 3]
    assert make(parts, [1, 2, 3]) == []
    assert make(parts, [0, 1, 3]) == [0]
    assert values_of(parts) == [0, 1, 3] and parts.counts() == [1, 1, 1] and parts.starts() == [0, 1, 2]
    assert len(list(parts.folder.glob("*.parquet"))) == 3


def test_parts_that_hold_the_same_are_one_file_whatever_they_were_made_from(tmp_path):
    one, other = Parts(tmp_path / "one"), Parts(tmp_path / "other")
    make(one, [1, 2, 11])
    make(other, [11, 12, 1])
    assert one.names() == other.names() and one.state.read_bytes() == other.state.read_bytes()
    assert values_of(one) == [1, 2, 1]
    assert one.names()[0] == one.names()[2]


def test_sql_counts_rows_across_parts(tmp_path):
    import duckdb

    parts = Parts(tmp_path / "table")
    make(parts, [5, 6, 15])
    assert duckdb.sql(f"SELECT position, value FROM {parts.sql()} ORDER BY position").fetchall() == [
        (0, 5), (1, 6), (2, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["lost", "cut", "list", "made"])
def test_what_is_damaged_is_made_again(tmp_path, damage):
    parts = Parts(tmp_path / "table")
    make(parts, [1, 2, 3])
    before = {path.name: path.read_bytes() for path in parts.folder.iterdir() if path.is_file()}
    first = parts.files()[0]
    if damage == "lost":
        first.unlink()
    elif damage == "cut":
        first.write_bytes(first.read_bytes()[:50])
    elif damage == "list":
        parts.state.write_text("[[1")
    else:
        (parts.folder / ".cache/made.json").write_text("[]")
    assert make(parts, [1, 2, 3]) == ([1] if damage in ("lost", "cut") else [1, 2, 3])
    assert {path.name: path.read_bytes() for path in parts.folder.iterdir() if path.is_file()} == before


def test_a_run_that_was_killed_before_the_list_keeps_what_it_has_made(tmp_path):
    parts = Parts(tmp_path / "table")
    parts.folder.mkdir()
    name = PartTask(["of", 1], ()).name
    pq.write_table(pa.table({"value": [1]}), parts.folder / name)
    assert make(parts, [1, 2]) == [2]
    assert json.loads(parts.state.read_text())[0][0] == parts.names()[0] != name
