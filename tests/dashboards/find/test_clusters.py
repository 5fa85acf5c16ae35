"""Groups of failures on a made case whose truth is known, and on a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboards.data.catalog import scan
from dashboards.data.filters import FilterSpec, resolve_filters
from dashboards.find.clusters import cluster_failures, features, name_groups, words_of
from dashboards.find.embed import embed_missing
from dashboards.find.search import pictured_run


def test_names_are_what_is_frequent_here_and_rare_elsewhere() -> None:
    held = [
        *[{("question", "colour"), ("answer", "red"), ("question", "picture")}] * 20,
        *[{("question", "many"), ("question type", "number"), ("question", "picture")}] * 30,
        *[{("question", "picture"), ("answer", f"other {number}")} for number in range(30)],
    ]
    group = np.repeat([0, 1, 2], [20, 30, 30])
    first, second, third = name_groups(held, group, 3)
    assert first == (("answer", "red"),), "colour stands in the same rows as red, and is said once"
    assert second == (("question type", "number"),), "of equal terms the slice is named"
    assert third == (), "nothing is frequent in it: every answer differs, and the picture is in all groups"


def test_two_words_of_different_rows_are_both_named() -> None:
    held = [*[{("question", "dog")}] * 15, *[{("question", "cat")}] * 12, *[{("question", "car")}] * 40]
    named = name_groups(held, np.repeat([0, 1], [27, 40]), 2)
    assert named == [(("question", "dog"), ("question", "cat")), (("question", "car"),)]


def test_a_name_needs_more_than_a_handful() -> None:
    held = [*[{("question", "dog")}] * 2, *[{("question", "car")}] * 98]
    assert name_groups(held, np.repeat([0, 1, 1], [5, 5, 90]), 2)[0] == ()
    assert name_groups([{("question", "dog")}] * 10, np.zeros(10, dtype=np.int64), 1) == [()], "nothing to compare with"


def test_words() -> None:
    assert words_of("What's the colour of this Hund's hat, in 2_3?") == {"what's", "colour", "hund's", "hat", "2", "3"}
    assert words_of("这是什么 ?") == {"这是什么"} and words_of("") == set()


def test_pictures_and_words_weigh_the_same() -> None:
    chance = np.random.default_rng(0)
    pictures = (1000 * chance.standard_normal((60, 5))).astype(np.float32)
    found = features(pictures, ["a dog here", "the cat there", "a dog there"] * 20, np.ones(60, dtype=bool))
    halves = found[:, :5], found[:, 5:]
    assert [float((half**2).sum(axis=1).mean()) for half in halves] == pytest.approx([1, 1])
    assert np.isfinite(features(pictures, [""] * 60, np.ones(60, dtype=bool))).all()


def test_groups_of_a_run(found: Path) -> None:
    catalog = scan(found)
    view, folder = (
        resolve_filters(catalog, FilterSpec(run="demo-tuned", outcome="Right")),
        catalog.find("curated", "small"),
    )
    assert view and folder
    embed_missing(view.run, folder, lambda done, total: None)
    pictured = pictured_run(view.run, folder)
    assert pictured
    found_ = cluster_failures(view, folder, len(pictured.vectors), 5)
    table = pd.read_parquet(view.run.path / "predictions.parquet")
    wrong = set(np.flatnonzero((table["accuracy"] < 0.5) | (table["status"] != "ok")).tolist())
    assert found_.failures == found_.grouped == len(wrong) and found_.answers == len(table)
    assert found_.rate == pytest.approx(len(wrong) / len(table))
    rows = [row for cluster in found_.clusters for row in cluster.rows]
    assert sorted(rows) == sorted(wrong), "each wrong answer is in one group"
    assert sum(cluster.answers for cluster in found_.clusters) == len(table)
    for cluster in found_.clusters:
        assert cluster.rate == pytest.approx(len(cluster.rows) / cluster.answers)
        assert cluster.low is None or cluster.high is None or cluster.low <= cluster.excess <= cluster.high
    assert cluster_failures.__wrapped__(view, folder, len(pictured.vectors), 5) == found_, "the same under the seed"
