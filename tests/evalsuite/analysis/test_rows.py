"""Rows in columns: the same as dictionaries, in batches of any size, on disk or in memory."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import made_row, spec_of, write_evaluation

from evalsuite.analysis import rows as module
from evalsuite.analysis.results import answers_of, load_evaluation, read_replies, score_rows
from evalsuite.analysis.rows import Rows, rows_of, stored_rows
from evalsuite.metrics import METRICS, Answers
from evalsuite.metrics.base import Row
from evalsuite.runs.finish import read_scores, rescore
from evalsuite.store import PREDICTIONS
from evalsuite.tasks.spec import score
from winnow.errors import UserError


def listed(count: int) -> list[Row]:
    return [made_row(n, f"colour {n}", references=["red"] * (n % 3 + 1), slice_shop="abc"[n % 3]) for n in range(count)]


@pytest.fixture(params=["memory", "disk", "disk, one row group"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Twenty rows that come in batches of three."""
    monkeypatch.setattr(module, "BATCH", 3)
    given = rows_of(listed(20))
    if request.param == "memory":
        return given
    other = rows_of([{**row, "task": "other"} for row in listed(4)])
    names = given.schema.names
    table = pa.concat_tables([*other.batches(names), *given.batches(names)])
    pq.write_table(table, tmp_path / PREDICTIONS, row_group_size=None if "one" in request.param else 5)
    return stored_rows(tmp_path, ["made"])["made"]


def test_rows_are_read_back_one_by_one_by_column_and_in_any_order(kept: Rows) -> None:
    expected = [row["sample_id"] for row in listed(20)]
    assert [row["sample_id"] for row in kept] == list(kept.column("sample_id")) == expected
    assert [row["references"] for row in kept.take([19, 0, 7, 0])] == [["red"] * 2, ["red"], ["red"] * 2, ["red"]]
    assert kept[-1]["raw"] == "colour 19" and kept[3]["slice_shop"] == "a" and kept[3]["verdict"] is None
    column = kept.column("raw")
    assert [column[place] for place in (5, 6, 2, 19, 0)] == [f"colour {n}" for n in (5, 6, 2, 19, 0)]
    assert list(column[4:9:2]) == ["colour 4", "colour 6", "colour 8"]
    with pytest.raises(IndexError):
        column[20]


def test_rows_are_picked_changed_and_given_columns(kept: Rows) -> None:
    odd = kept.with_columns({"extracted": pa.array([str(n) for n in range(20)])}).where(np.arange(20) % 2 == 1)
    again = odd.where(np.arange(10) >= 8).with_changed("references", {1: ["blue"]})
    assert len(odd) == 10 and len(again) == 2
    assert [(row["raw"], row["extracted"], row["references"]) for row in again] == [
        ("colour 17", "17", ["red"] * 3), ("colour 19", "19", ["blue"]),
    ]  # fmt: skip
    assert len(kept.where(np.zeros(20, dtype=bool))) == 0 == len(list(kept.where(np.zeros(20, dtype=bool))))


def test_batches_do_not_change_a_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [made_row(n, ["red", "blue", None][n % 3], slice_shop="ab"[n % 2], images=2) for n in range(30)]
    run = write_evaluation(tmp_path / "run", rows, slices=["shop"], metrics=["accuracy", "bleu"])
    before = (run / "scores.json").read_bytes()
    monkeypatch.setattr(module, "BATCH", 4)
    rescore(run, [])
    assert (run / "scores.json").read_bytes() == before
    specs, stored = load_evaluation(run)
    assert score_rows(specs["made"], stored["made"]).clusters.tolist() == [n // 2 for n in range(30)]


def test_evaluation_of_an_earlier_version_is_scored_again(tmp_path: Path) -> None:
    run = write_evaluation(tmp_path / "run", listed(6))
    before = read_scores(run)
    table = pq.read_table(run / PREDICTIONS)
    later = ["reasoning", "truncated", "group", "repeat", "confidence", "facts", "retry", "verdict"]
    pq.write_table(table.drop_columns(later), run / PREDICTIONS)
    assert rescore(run, []) == before
    pq.write_table(table.drop_columns(["references", "group"]), run / PREDICTIONS)
    with pytest.raises(UserError, match="lacks the columns references; it was written by another version"):
        rescore(run, [])
    pq.write_table(table.set_column(table.schema.names.index("raw"), "raw", pa.array(range(6))), run / PREDICTIONS)
    with pytest.raises(UserError, match="something else than predictions in raw"):
        rescore(run, [])


def test_scoring_that_ends_early_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_evaluation(tmp_path / "run", listed(6))
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("html_report", "write_predictions", "score_rows"):
        with monkeypatch.context() as patch:
            patch.setattr(f"evalsuite.runs.finish.{name}", fails)
            with pytest.raises(KeyboardInterrupt):
                rescore(run, [], variants=["accuracy=evalai"])
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    rescore(run, [], variants=["accuracy=evalai"])
    assert list(read_scores(run)["tasks"]["made"]["metrics"]) == ["accuracy", "accuracy_evalai"]
    assert pq.read_schema(run / PREDICTIONS).names[-2:] == ["accuracy_evalai_right", "slice_shop"]


@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"judge"}))
def test_every_metric_scores_columns_as_it_scores_lists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What metrics are given in batches of three is worth the same as plain lists of all rows."""
    monkeypatch.setattr(module, "BATCH", 3)
    kind = METRICS[name].references
    texts = {
        "letters": ["A", "B"], "yes_no": ["yes", "no"], "number": ["2", "30"],
        "box": ["[0, 0, 10, 10]", "[5, 5, 20, 20]"],
    }  # fmt: skip
    said = texts.get(kind, ["a red dog", "two cats"])
    rows = [
        made_row(
            n, said[n * 2 % 3 % 2] if n % 5 else None, images=2, references=[said[n % 2]], repeat=n % 2,
            group=f"group {n // 2}", confidence=0.1 * (n % 10), choices=["x", "y"] if kind == "letters" else [],
            slice_category="count",
        ) | {"images": [f"{n // 2}.png"]}
        for n in range(20)
    ]  # fmt: skip
    spec = spec_of(metrics=[name], slices=["category"])
    read = read_replies(rows_of(rows), spec, spec.extraction)
    lazy = answers_of(rows_of(rows).with_columns(read.columns()), spec, None)
    plain = Answers(**{field.name: list(getattr(lazy, field.name)) for field in fields(Answers)})
    assert plain.ids == [row["sample_id"] for row in rows] and plain.texts[1] is not None and plain.texts[5] is None
    try:
        expected = score(plain, spec.metrics)
    except UserError as error:
        with pytest.raises(UserError, match=re.escape(str(error))):
            score(lazy, spec.metrics)
        return
    for one, other in zip(score(lazy, spec.metrics), expected, strict=True):
        assert one.name == other.name and one.variant == other.variant
        np.testing.assert_array_equal(one.per_row, other.per_row)
        np.testing.assert_array_equal(one.sums, other.sums)
        np.testing.assert_array_equal(one.right, other.right)
