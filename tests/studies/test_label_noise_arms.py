"""Questions, order of rows, the reader and its cache, paired intervals."""

from pathlib import Path

import numpy as np
import pytest

from studies.label_noise.arms import found_by
from studies.label_noise.cifar import CLASSES
from studies.label_noise.questions import KINDS, rows_of
from studies.label_noise.reader import Budget, Encoded, Known, Lab, losses_of, order_of
from studies.label_noise.sets import Row, _numbered, _row
from studies.paired import difference, paired, percent, points, won_back
from studies.sections import put
from winnow.errors import UserError


def made(asked, right, answered, seed=0):
    count = len(asked)
    pictures = [Path(f"{number}.jpg") for number in range(count)]
    arrays = (np.array(labels) for labels in (asked, right, answered))
    return list(rows_of(pictures, range(count), *arrays, source="cifar", seed=seed, kinds=[KINDS] * count))


def test_the_right_version_asks_the_same():
    given, right = made([3, 5, 8], [3, 4, 8], [3, 5, 8]), made([3, 5, 8], [3, 4, 8], [3, 4, 8])
    assert [row["conversations"][0] for row in given] == [row["conversations"][0] for row in right]
    changed = [one["id"].split("/")[2] for one, other in zip(given, right, strict=True) if one != other]
    assert set(changed) == {"1"}
    assert [row["answers"] for row in given[:1]] == [["cat"]]
    for row in given:
        if row["meta"]["question_type"] == "choice":
            offered = row["conversations"][0]["value"].rpartition(": ")[2].rstrip("?").split(", ")
            assert len(set(offered)) == 4 and row["answers"][0] in offered
    assert "deer" in given[5]["conversations"][0]["value"]  # right, though people said dog


def test_half_of_the_yes_or_no_questions_are_about_the_class_that_was_named():
    labels = [number % 10 for number in range(600)]
    rows = [row for row in made(labels, labels, labels) if row["meta"]["question_type"] == "yes_no"]
    assert 250 < sum(row["answers"] == ["yes"] for row in rows) < 350


def test_arms_see_shared_rows_in_the_same_order():
    every, some = np.ones(50, bool), np.arange(50) % 3 > 0
    whole, part = order_of(50, every, 4, 100), order_of(50, some, 4, 60)
    assert sorted(whole[:50]) == list(range(50)) and len(part) == 60
    assert [row for row in whole[:50] if some[row]] == part[: some.sum()].tolist()
    assert not np.array_equal(whole, order_of(50, every, 5, 100))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 32)).astype(np.float32)
    labels = rng.integers(0, 10, 400)
    rows = [_row(row, number) for row, number in _numbered(made(labels, labels, labels))]
    vectors = {number: centres[label] + rng.normal(0, 0.2, 32) for number, label in enumerate(labels)}
    tests = [Row(row.id, -1 - row.picture, row.kind, row.question, row.answer) for row in rows[:150]]
    vectors |= {-1 - number: centres[labels[number]] + rng.normal(0, 0.2, 32) for number in range(50)}
    vectors = {number: vector.astype(np.float32) for number, vector in vectors.items()}
    cache = tmp_path_factory.mktemp("arms")
    return Lab(cache, Known(vectors, rows), tests, Budget(steps=200, batch=32, rate=4e-3, width=32)), rows


def test_the_reader_learns_all_forms_and_trains_once(lab, capsys):
    lab, rows = lab
    every = np.ones(len(rows), bool)
    right = lab.arm("clean", rows, every, 0)
    of = {kind: right[lab.kinds == kind].mean() for kind in KINDS}
    assert of["open"] > 0.8 and of["choice"] > 0.8 and of["yes_no"] > 0.65, of
    assert "clean, seed 0" in capsys.readouterr().out
    assert np.array_equal(lab.arm("clean", rows, every, 0), right) and capsys.readouterr().out == ""
    few = every.copy()
    few[12:] = False
    assert lab.arm("few", rows, few, 0).mean() < right.mean() - 0.2


def test_a_row_loses_more_without_its_picture(lab):
    lab, rows = lab
    own, without = losses_of(lab.known, Encoded(rows, lab.known), lab.budget, 0)
    assert own.shape == without.shape == (len(rows),) and without.mean() > own.mean() + 0.5


def test_found_by_counts():
    found = found_by(np.array([True, True, False, False]), np.array([True, False, True, False]))
    assert found == {"dropped": 2, "precision": 0.5, "recall": 0.5}


def test_paired_intervals_know_what_arms_share():
    rng = np.random.default_rng(0)
    images = [str(number // 2) for number in range(2000)]
    shared = (rng.random((5, 2000)) < 0.7).astype(float)
    better = np.where(rng.random((5, 2000)) < 0.05, 1.0, shared)
    other = (rng.random((5, 2000)) < better.mean()).astype(float)
    right = {
        "dirty": shared,
        "curated": better,
        "other": other,
        "clean": np.maximum(better, rng.random((5, 2000)) < 0.05),
    }
    near, far = difference(right, images, "dirty", "curated"), difference(right, images, "dirty", "other")
    assert near["value"] == pytest.approx(better.mean() - shared.mean()) and near["low"] > 0
    assert far["high"] - far["low"] > 2 * (near["high"] - near["low"])
    share = won_back(right, images, "dirty", "curated", "clean")
    assert share["low"] < share["value"] < share["high"]
    assert share["value"] == pytest.approx((better.mean() - shared.mean()) / (right["clean"].mean() - shared.mean()))
    assert difference(right, images, "dirty", "dirty") == {"value": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(ValueError, match="same seeds"):
        paired({"a": shared, "b": shared[:2]}, images, lambda means: means["a"])


def test_seeds_widen_an_interval():
    """Five seeds that all agree but for their level: the interval knows of their spread."""
    images = [str(number) for number in range(1000)]
    base = (np.arange(1000) % 2).astype(float)
    levels = np.stack([np.where(np.arange(1000) < 40 * seed, 1.0, base) for seed in range(5)])
    same = np.stack([levels.mean(0).round()] * 5)
    wide, narrow = (paired({"a": runs}, images, lambda means: means["a"]) for runs in (levels, same))
    assert wide["high"] - wide["low"] > 1.2 * (narrow["high"] - narrow["low"])


def test_figures_as_text(tmp_path):
    found = {"value": 0.0271, "low": 0.004, "high": 0.0538}
    assert points(found) == "+2.7 (+0.4 to +5.4)" and percent(found) == "2.7% (0.4 to 5.4)"
    assert percent({"value": None, "low": None, "high": None}) == "–"
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: written by `make proof STUDY=x` -->\nold\n<!-- /x -->\nb\n")
    put(page, "x", "new\n")
    assert page.read_text() == "a\n<!-- x: written by `make proof STUDY=x` -->\nnew\n<!-- /x -->\nb\n"
    with pytest.raises(UserError, match="has no lines"):
        put(page, "y", "new")


def test_classes_are_words_of_their_own():
    assert len(set(CLASSES)) == 10
