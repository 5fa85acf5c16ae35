"""Flip matrix, slices, groups and losses against pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards.data.catalog import Folder, scan
from dashboards.data.comparison import flips, rank_slices, reviewed_rows, terms
from dashboards.data.curated import cases_at, cases_of, fired_on, read_fired
from dashboards.data.duplicates import ORDERS, page_of_groups
from dashboards.data.engine import Connection, connect
from dashboards.data.predictions import Predictions, open_predictions, read_row_index
from dashboards.data.predictions import pair as pair_rows
from dashboards.data.training import by_source, highest, losses_over_epochs, read_losses
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
            **more,
        }
    )


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Connection, Predictions, Predictions, pd.DataFrame]:
    count = 400
    now = [n % 5 != 0 for n in range(count)]
    before = [n % 3 == 0 for n in range(count)]
    kinds = [None if n % 7 == 0 else "shape" if n % 2 else "color" for n in range(count)]
    run = _answers(count, now, slice_question_type=kinds)
    base = _answers(count, before, slice_question_type=kinds).slice(10)
    for name, table in (("run", run), ("base", base)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    connection = connect(tmp_path)
    tables = (open_predictions(connection, str(tmp_path / f"{name}.parquet")) for name in ("run", "base"))
    frame = run.to_pandas().merge(base.to_pandas()[["sample_id", "accuracy"]], on="sample_id", suffixes=("", "_base"))
    return connection, *tables, frame


def test_flips(pair: tuple[Connection, Predictions, Predictions, pd.DataFrame]) -> None:
    connection, run, base, frame = pair
    pairing = pair_rows(read_row_index(connection, run), read_row_index(connection, base))
    found = flips(connection, run, pairing, "vqa")
    assert found is not None and (found.n, found.only_run, found.only_base) == (390, 10, 0)
    cells = frame.groupby(["accuracy", "accuracy_base"]).size()
    assert (found.test.both, found.test.only_b) == (cells[1.0, 1.0], cells[1.0, 0.0])
    assert (found.test.only_a, found.test.neither) == (cells[0.0, 1.0], cells[0.0, 0.0])
    assert found.difference == pytest.approx((frame["accuracy"] - frame["accuracy_base"]).mean())
    assert found.low is not None and found.high is not None and found.low < found.difference < found.high
    shape = next(change for change in found.slices if change.where == "question_type=shape")
    part = frame[frame["slice_question_type"] == "shape"]
    assert (shape.n, shape.run, shape.base) == (len(part), part["accuracy"].mean(), part["accuracy_base"].mean())
    assert flips(connection, run, pairing, "nope") is None


def test_slices_hold_their_rows_and_excess(
    pair: tuple[Connection, Predictions, Predictions, pd.DataFrame], tmp_path: Path
) -> None:
    connection, run, _, _ = pair
    frame = pd.read_parquet(tmp_path / "run.parquet")
    errors = 1 - frame["accuracy"].to_numpy()
    images = pd.factorize(frame["image_keys"].map(lambda keys: keys[0]))[0]
    masks = {
        "reference=yes": frame["references"].map(lambda refs: refs[0].lower() == "yes"),
        "question opens with=is there": frame["question"].str.startswith("is there"),
        "question_type=shape": frame["slice_question_type"] == "shape",
    }
    ranking = rank_slices(connection, run, read_row_index(connection, run), "vqa")
    assert ranking.rows == 400 and ranking.rate == pytest.approx(0.2)
    found = {" & ".join(terms(one)): one.excess for one in ranking.slices}
    for name, mask in masks.items():
        expected = excess_errors(errors, mask.to_numpy(), images)
        assert (found[name].n, found[name].clusters) == (expected.n, expected.clusters)
        assert found[name].excess == pytest.approx(expected.excess) and found[name].low == pytest.approx(expected.low)
    assert [one.excess for one in found.values()] == sorted((one.excess for one in found.values()), reverse=True)
    assert all(one.n >= 30 and one.clusters >= 10 for one in found.values())
    assert not rank_slices(connection, run, read_row_index(connection, run), "nope").slices


def test_touched_rows_keep_their_order(pair: tuple[Connection, Predictions, Predictions, pd.DataFrame]) -> None:
    connection, run, base, _ = pair
    found = reviewed_rows(connection, run, base, ["s/33", "s/2", "s/11"])
    assert [one.sample_id for one in found] == ["s/33", "s/11"], "s/2 was asked by one run only"
    assert (found[0].now, found[0].before) == (True, True) and found[1].references == ("Yes",)


@pytest.fixture(scope="module")
def folder(small: Path) -> Folder:
    found = scan(small).find("curated", "small")
    assert found is not None
    return found


def test_groups_show_what_was_replaced(small: Path, folder: Folder) -> None:
    connection = connect(small)
    decisions = pd.read_parquet(small / "curated/small/decisions.parquet")
    replaced = decisions[decisions["representative"].notna()]
    for order in ORDERS:
        groups, total = page_of_groups(connection, folder, order, 0, 10)
        assert total == replaced["duplicate_group"].nunique() == len(groups)
        ids = {row[0] for group in groups for member in group.members for row in member.replaced}
        assert ids == set(replaced["sample_id"])
        assert all(not group.members[0].replaced for group in groups), "the kept image comes first"
    assert page_of_groups(connection, folder, ORDERS[0], 5, 10) == ([], 0)


def test_rows_by_place_id_and_rule(small: Path, folder: Folder) -> None:
    connection = connect(small)
    samples = pd.read_parquet(small / "curated/small/samples.parquet")
    assert [case.sample_id for case in cases_at(connection, folder, [5, 3])] == list(samples["sample_id"][[5, 3]])
    assert set(cases_of(connection, folder, ["t/train/blurred", "x"])) == {"t/train/blurred"}
    fired = read_fired(folder)
    total = int((samples["reason"] == "duplicate").sum())
    assert total == fired.is_reason("duplicate").sum()
    pages = [fired_on(connection, folder, fired, "duplicate", start, 4) for start in range(0, total, 4)]
    shown = [case.sample_id for page in pages for case in page]
    assert shown[:total] == list(samples[samples["reason"] == "duplicate"]["sample_id"])
    assert fired_on(connection, folder, fired, "no such rule", 0, 4) == []


def test_losses(tmp_path: Path) -> None:
    rows = [("a", "x", 0, 0, 3.0, 2), ("a", "x", 0, 1, 1.0, 2), ("b", "y", 0, 1, 2.0, 5), ("c", "x", 1, 0, 0.5, 1)]
    names = ("sample_id", "source", "stage", "epoch", "loss", "tokens")
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    pq.write_table(table, folder / "losses.parquet")
    run = Folder("runs", "r", folder, "f")
    connection = connect(tmp_path)
    losses = read_losses(connection, run)
    page = highest(connection, run, losses, "", 0, 2)
    assert [(one.sample_id, one.source, one.first, one.last, one.tokens) for one in page] == [
        ("b", "y", 2.0, 2.0, 5), ("a", "x", 3.0, 1.0, 4)
    ]  # fmt: skip
    assert [one.sample_id for one in highest(connection, run, losses, "x", 0, 5)] == ["a", "c"]
    assert highest(connection, run, losses, "no such source", 0, 5) == []
    (hard, easy) = by_source(losses)
    epochs = losses_over_epochs(connect(tmp_path), run)
    assert [(one.source, one.epoch, one.mean, one.rows) for one in epochs] == [
        ("x", 1, 3.0, 1), ("x", 2, 1.0, 1), ("y", 2, 2.0, 1), ("x", 3, 0.5, 1)
    ]  # fmt: skip
    assert (hard.source, hard.rows, hard.mean) == ("y", 1, 2.0) and (easy.rows, easy.median) == (2, 0.75)
