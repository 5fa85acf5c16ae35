"""Which rows the arms see, and what is said about the rows that curation took."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studies.demo.comparison import Case, row_counts
from studies.demo.draws import aligned, drawn
from studies.demo.sets import RawSet
from winnow.errors import UserError
from winnow.rows.records import Sample, Turn


def rows(*names):
    return [
        Sample(id=name, image=("a.png",), conversations=(Turn("user", "?"), Turn("assistant", "!"))) for name in names
    ]


def ids(samples):
    return [sample.id for sample in samples]


def test_a_seed_orders_rows_alike_in_every_set():
    whole = rows(*(f"r{k}" for k in range(60)))
    fewer = [row for row in whole if row.id not in ("r3", "r4", "r5")]
    order = ids(drawn(whole, 60, 1))
    assert ids(drawn(reversed(fewer), 57, 1)) == [name for name in order if name not in ("r3", "r4", "r5")]
    assert ids(drawn(whole, 60, 2)) != order and ids(drawn(whole, 20, 1)) == order[:20]


def test_every_row_is_drawn_equally_often():
    whole = rows(*"abcdefgh")
    found = [name for seed in range(800) for name in ids(drawn(whole, 2, seed))]
    assert all(150 < found.count(name) < 250 for name in "abcdefgh")


def test_a_set_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="needs 3 rows, but a set has 2"):
        drawn(rows("a", "b"), 3, 0)


def test_shared_rows_stand_at_the_same_places():
    assert ids(aligned(rows("x", "d", "y", "b"), rows(*"abcd"))) == ["x", "b", "y", "d"]
    assert ids(aligned(rows(*"dcba"), rows(*"abcd"))) == [*"abcd"]
    assert ids(aligned(rows(*"xyz"), rows(*"abc"))) == [*"xyz"]


def test_an_original_is_lost_only_if_its_copy_went_too(tmp_path):
    truth = [
        ("dup-1", "near_duplicate", "1"), ("dup-2", "near_duplicate", "2"), ("dup-6", "near_duplicate", "6"),
        ("3", "wrong_answer", None), ("8", "wrong_answer", None), ("t/con-7", "contradictory", "7"),
        ("7", "contradictory", "t/con-7"),
    ]  # fmt: skip
    columns = ("sample_id", "defect", "twin_id")
    table = pa.table(dict(zip(columns, zip(*truth, strict=True), strict=True)))
    pq.write_table(table, tmp_path / "truth.parquet")
    decisions = [
        ("1", "drop", "duplicate"),  # its copy stands for it
        ("dup-1", "keep", None),
        ("2", "drop", "duplicate"),  # gone with its copy
        ("dup-2", "drop", "blurry"),
        ("3", "drop", "misaligned"),
        ("4", "drop", "misaligned"),  # has no defect
        ("5", "keep", None),
        ("6", "keep", None),  # both stay
        ("dup-6", "keep", None),
        ("7", "keep", None),  # the right one of two that contradict each other
        ("t/con-7", "drop", "misaligned"),
        ("8", "keep", None),
    ]
    (tmp_path / "curated").mkdir()
    columns = ("sample_id", "decision", "reason")
    table = pa.table(dict(zip(columns, zip(*decisions, strict=True), strict=True)))
    pq.write_table(table, tmp_path / "curated/decisions.parquet")
    assert row_counts(Case(RawSet(tmp_path), tmp_path / "curated"), {}) == {
        "sets": {}, "kept": {"near_duplicate": 1, "wrong_answer": 1}, "lost": {"duplicate": 1, "misaligned": 1},
    }  # fmt: skip
