from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboards.data.answers import answers_of
from dashboards.data.catalog import Folder, scan
from dashboards.data.comparison import MOST_RESAMPLED, mean_difference
from dashboards.data.scores import changes, headline, metric_explanations, scores, titles
from evalsuite.statistics import cluster_codes, mean_sums, paired_difference
from evalsuite.tasks.spec import load_spec
from tests.dashboards.folders import with_task
from winnow.errors import UserError


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


def test_scores_without_units_are_a_sentence(own: Path) -> None:
    path = own / "evals" / "demo-tuned" / "scores.json"
    path.write_text(path.read_text().replace('"unit"', '"was unit"'))
    folder = scan(own).find("evals", "demo-tuned")
    assert folder and titles(folder) == {}
    with pytest.raises(UserError, match="evalsuite score"):
        scores(folder)


def test_unreadable_scores_are_a_sentence(own: Path) -> None:
    (own / "evals" / "demo-tuned" / "scores.json").write_text("{")
    folder = scan(own).find("evals", "demo-tuned")
    assert folder
    with pytest.raises(UserError, match=r"scores\.json"):
        scores(folder)


def test_change_is_the_paired_difference_of_the_evaluation_package(tuned: Folder, base: Folder) -> None:
    """Same rows, same clusters, same order, same seed: the very same interval."""
    accuracy = [score for score in headline(scores(tuned)) if score.metric == "accuracy"]
    (change,) = changes(tuned, base, tuple(accuracy))
    frames = [pd.read_parquet(folder.path / "predictions.parquet").query("task == 'vqa'") for folder in (tuned, base)]
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


def test_a_metric_that_is_not_the_mean_of_its_rows_gets_no_difference(tuned: Folder, base: Folder) -> None:
    found = changes(tuned, base, tuple(scores(tuned)))
    assert {change.metric for change in found} == {"accuracy", "vqa_accuracy", "cider"}


def test_metrics_are_explained_as_the_evaluation_explains_them(own: Path) -> None:
    folder = with_task(own)
    (answer,) = answers_of(folder, "easy_vqa/test/0")
    found = metric_explanations(folder, answer)
    assert {metric for read in found for metric in read.metrics} == set(load_spec("easy_vqa").metrics)
    assert {(read.text, read.matched) for read in found} == {("2", "2 of 3")}
