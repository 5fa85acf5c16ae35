from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboards.data.catalog import scan
from dashboards.data.comparison import MOST_RESAMPLED, mean_difference
from dashboards.data.engine import Connection
from dashboards.data.predictions import Pairing, Predictions, open_predictions, pair, read_row_index
from dashboards.data.scores import changes, headline, scores
from dashboards.data.training import loss_curve
from evalsuite.statistics import cluster_codes, mean_sums, paired_difference
from winnow.errors import UserError


def _pairing(connection: Connection, run: Predictions, base: Predictions) -> Pairing:
    return pair(read_row_index(connection, run), read_row_index(connection, base))


def test_scores_are_those_of_the_evaluation(data: Path) -> None:
    folder = scan(data).find("evals", "demo-tuned")
    assert folder
    found = scores(folder)
    stored = json.loads((folder.path / "scores.json").read_text())["tasks"]
    assert {(score.task, score.metric): score.value for score in found} == {
        (task, metric): entry["value"]
        for task, content in stored.items()
        for metric, entry in content["metrics"].items()
    }
    assert found[0].task == "vqa", "the task with most rows comes first"
    assert [(score.task, score.metric) for score in headline(found)] == [("vqa", "accuracy"), ("caption", "cider")]


@pytest.mark.parametrize(
    "content",
    ['{"tasks": []}', '{"tasks": {"a": null}}', '{"tasks": {"a": {"metrics": {"m": {"value": null}}}}}', "{}"],
)
def test_odd_scores_are_left_out(own: Path, content: str) -> None:
    (own / "evals" / "demo-tuned" / "scores.json").write_text(content)
    folder = scan(own).find("evals", "demo-tuned")
    assert folder and scores(folder) == []


def test_unreadable_scores_are_a_sentence(own: Path) -> None:
    (own / "evals" / "demo-tuned" / "scores.json").write_text("{")
    folder = scan(own).find("evals", "demo-tuned")
    assert folder
    with pytest.raises(UserError, match=r"scores\.json"):
        scores(folder)


def test_change_is_the_paired_difference_of_the_evaluation_package(data: Path, connection: Connection) -> None:
    """Same rows, same clusters, same order, same seed: the very same interval."""
    catalog = scan(data)
    run, base = catalog.find("evals", "demo-tuned"), catalog.find("evals", "demo-base")
    assert run and base
    tables = [open_predictions(connection, folder.file("predictions.parquet")) for folder in (run, base)]
    accuracy = [score for score in headline(scores(run)) if score.metric == "accuracy"]
    (change,) = changes(connection, *tables, _pairing(connection, *tables), accuracy)
    frames = [pd.read_parquet(folder.path / "predictions.parquet").query("task == 'vqa'") for folder in (run, base)]
    clusters = cluster_codes([keys[0] for keys in frames[0]["image_keys"]])
    expected = paired_difference(mean_sums(frames[1]["accuracy"]), mean_sums(frames[0]["accuracy"]), clusters)
    assert change.n == 40
    assert change.run == frames[0]["accuracy"].mean() and change.base == frames[1]["accuracy"].mean()
    assert (change.difference, change.low, change.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_the_closed_form_is_what_resampling_images_estimates() -> None:
    """1,500 images with 1 to 4 rows that share an effect; so many images are not resampled any more."""
    generator = np.random.default_rng(0)
    images = np.repeat(np.arange(1_500), generator.integers(1, 5, 1_500))
    effect = generator.normal(0.02, 1, 1_500)[images] + generator.normal(0, 1, len(images))
    before = generator.normal(0, 1, len(images))
    found = mean_difference(before, before + effect, images)
    exact = paired_difference(mean_sums(before), mean_sums(before + effect), images)
    assert len(np.unique(images)) > MOST_RESAMPLED
    assert (found.n, found.clusters, found.value) == (exact.n, exact.clusters, pytest.approx(exact.value))
    assert found.low is not None and found.high is not None and exact.low is not None and exact.high is not None
    assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.08)
    assert found.se == pytest.approx(exact.se, rel=0.05) and found.p == pytest.approx(exact.p, abs=0.05)
    rows = mean_difference(before, before + effect, np.arange(len(images)))
    assert rows.se is not None and found.se is not None and rows.se < 0.9 * found.se, "images are what is independent"


def test_bleu_is_no_mean_and_gets_no_difference(data: Path, connection: Connection) -> None:
    catalog = scan(data)
    run, base = catalog.find("evals", "demo-tuned"), catalog.find("evals", "demo-base")
    assert run and base
    tables = [open_predictions(connection, folder.file("predictions.parquet")) for folder in (run, base)]
    found = changes(connection, *tables, _pairing(connection, *tables), scores(run))
    assert {change.metric for change in found} == {"accuracy", "vqa_accuracy", "cider"}


def test_loss_curve_keeps_every_step_of_a_short_run_and_counts_on_over_stages(
    data: Path, connection: Connection
) -> None:
    folder = scan(data).find("runs", "demo")
    assert folder
    points = loss_curve(connection, folder)
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert [point.step for point in points] == list(range(1, 201))
    assert [point.stage for point in points] == ["align"] * 50 + ["stage 2"] * 150
    assert np.allclose([point.loss for point in points], [line["loss"] for line in lines])


def test_long_curves_are_averaged_down_and_bad_lines_skipped(own: Path) -> None:
    from dashboards.data.engine import connect

    lines = [json.dumps({"step": step, "epoch": 0.1, "loss": 1.0}) for step in range(5000)]
    (own / "runs" / "demo" / "metrics.jsonl").write_text("\n".join(["not json", *lines, '{"step": 5000, "lo']))
    folder = scan(own).find("runs", "demo")
    assert folder
    points = loss_curve(connect(own), folder)
    assert 500 <= len(points) <= 600 and points[-1].step == 4999
    assert all(point.loss == 1.0 for point in points)
