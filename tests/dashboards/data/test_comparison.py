"""Flip matrix, slices and reviewed rows against pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards.data.catalog import Folder
from dashboards.data.comparison import flips, rank_slices, reviewed_rows, terms
from evalsuite.statistics import excess_errors


def _answers(count: int, right: list[bool], **more: list) -> pa.Table:
    return pa.table(
        {
            "sample_id": [f"s/{n}" for n in range(count)],
            "task": ["vqa"] * count,
            "question": [f"{'what is' if n % 3 else 'is there'} it?" for n in range(count)],
            "raw": ["x"] * count,
            "extracted": ["x"] * count,
            "status": ["ok"] * count,
            "references": [["Yes" if n % 2 else "no"] for n in range(count)],
            "image_keys": [[f"{n // 4:064d}"] for n in range(count)],
            "accuracy": [float(value) for value in right],
            "accuracy_right": right,
            **more,
        }
    )


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Folder, Folder, pd.DataFrame]:
    """A run of 400 rows, a baseline that lacks the first ten, and the rows of both side by side."""
    count = 400
    now = [n % 5 != 0 for n in range(count)]
    before = [n % 3 == 0 for n in range(count)]
    kinds = [None if n % 7 == 0 else "shape" if n % 2 else "color" for n in range(count)]
    run = _answers(count, now, slice_question_type=kinds)
    base = _answers(count, before, slice_question_type=kinds).slice(10)
    folders = [Folder("evals", name, tmp_path / "evals" / name, "f") for name in ("run", "base")]
    for folder, table in zip(folders, (run, base), strict=True):
        folder.path.mkdir(parents=True)
        pq.write_table(table, folder.path / "predictions.parquet")
        (folder.path / "scores.json").write_text("{}")
    frame = run.to_pandas().merge(base.to_pandas()[["sample_id", "accuracy"]], on="sample_id", suffixes=("", "_base"))
    return folders[0], folders[1], frame


def test_flips(runs: tuple[Folder, Folder, pd.DataFrame]) -> None:
    run, base, frame = runs
    found = flips(run, base, "vqa")
    assert found is not None and (found.n, found.only_run, found.only_base) == (390, 10, 0)
    cells = frame.groupby(["accuracy", "accuracy_base"]).size()
    assert (found.test.both, found.test.only_b) == (cells[1.0, 1.0], cells[1.0, 0.0])
    assert (found.test.only_a, found.test.neither) == (cells[0.0, 1.0], cells[0.0, 0.0])
    assert found.difference == pytest.approx((frame["accuracy"] - frame["accuracy_base"]).mean())
    assert found.low is not None and found.high is not None and found.low < found.difference < found.high
    shape = next(change for change in found.slices if change.where == "question_type=shape")
    part = frame[frame["slice_question_type"] == "shape"]
    assert (shape.n, shape.run, shape.base) == (len(part), part["accuracy"].mean(), part["accuracy_base"].mean())
    assert flips(run, base, "nope") is None


def test_slices_hold_their_rows_and_excess(runs: tuple[Folder, Folder, pd.DataFrame]) -> None:
    run, _, _ = runs
    frame = pd.read_parquet(run.path / "predictions.parquet")
    errors = 1 - frame["accuracy"].to_numpy()
    images = pd.factorize(frame["image_keys"].map(lambda keys: keys[0]))[0]
    masks = {
        "reference=yes": frame["references"].map(lambda refs: refs[0].lower() == "yes"),
        "question opens with=is there": frame["question"].str.startswith("is there"),
        "question_type=shape": frame["slice_question_type"] == "shape",
    }
    ranking = rank_slices(run, "vqa")
    assert ranking.rows == 400 and ranking.rate == pytest.approx(0.2)
    found = {" & ".join(terms(ranked)): ranked.excess for ranked in ranking.slices}
    for name, mask in masks.items():
        expected = excess_errors(errors, mask.to_numpy(), images)
        assert (found[name].n, found[name].clusters) == (expected.n, expected.clusters)
        assert found[name].excess == pytest.approx(expected.excess) and found[name].low == pytest.approx(expected.low)
    excess = [slice_.excess for slice_ in found.values()]
    assert excess == sorted(excess, reverse=True)
    assert all(slice_.n >= 30 and slice_.clusters >= 10 for slice_ in found.values())
    assert not rank_slices(run, "nope").slices


def test_reviewed_rows_keep_their_order(runs: tuple[Folder, Folder, pd.DataFrame]) -> None:
    run, base, _ = runs
    found = reviewed_rows(run, base, ("s/33", "s/2", "s/11"))
    assert [row.sample_id for row in found] == ["s/33", "s/11"], "only one run was asked s/2"
    assert (found[0].now, found[0].before) == (True, True) and found[1].references == ("Yes",)
