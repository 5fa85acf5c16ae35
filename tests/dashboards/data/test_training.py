"""Losses of rows, sources, epochs and steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dashboards.data.catalog import Folder, scan
from dashboards.data.training import highest_losses, loss_curve, losses_by_source, losses_over_epochs


def test_losses(tmp_path: Path) -> None:
    rows = [("a", "x", 0, 0, 3.0, 2), ("a", "x", 0, 1, 1.0, 2), ("b", "y", 0, 1, 2.0, 5), ("c", "x", 1, 0, 0.5, 1)]
    names = ("sample_id", "source", "stage", "epoch", "loss", "tokens")
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    pq.write_table(table, folder / "losses.parquet")
    run = Folder("runs", "r", folder, "f")
    page = highest_losses(run, "", 0, 2)
    assert [(row.sample_id, row.source, row.first, row.last, row.tokens) for row in page] == [
        ("b", "y", 2.0, 2.0, 5), ("a", "x", 3.0, 1.0, 4)
    ]  # fmt: skip
    assert [row.sample_id for row in highest_losses(run, "x", 0, 5)] == ["a", "c"]
    assert highest_losses(run, "no such source", 0, 5) == []
    (hard, easy) = losses_by_source(run)
    epochs = losses_over_epochs(run)
    assert [(epoch.source, epoch.epoch, epoch.mean, epoch.rows) for epoch in epochs] == [
        ("x", 1, 3.0, 1), ("x", 2, 1.0, 1), ("y", 2, 2.0, 1), ("x", 3, 0.5, 1)
    ]  # fmt: skip
    assert (hard.source, hard.rows, hard.mean) == ("y", 1, 2.0) and (easy.rows, easy.median) == (2, 0.75)


def test_loss_curve_keeps_every_step_of_a_short_run_and_counts_on_over_stages(data: Path) -> None:
    folder = scan(data).find("runs", "demo")
    assert folder
    points = loss_curve(folder)
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [point.step for point in points] == list(range(1, 201))
    assert [point.stage for point in points] == ["align"] * 50 + ["stage 2"] * 150
    assert np.allclose([point.loss for point in points], [line["loss"] for line in lines])


def test_long_curves_are_averaged_down_and_bad_lines_skipped(own: Path) -> None:
    lines = [json.dumps({"step": step, "epoch": 0.1, "loss": 1.0}) for step in range(5000)]
    (own / "runs" / "demo" / "metrics.jsonl").write_text("\n".join(["not json", *lines, '{"step": 5000, "lo']))
    folder = scan(own).find("runs", "demo")
    assert folder
    points = loss_curve(folder)
    assert 500 <= len(points) <= 600 and points[-1].step == 4999
    assert all(point.loss == 1.0 for point in points)
