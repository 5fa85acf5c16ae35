"""The study of a leak: halves of the test, arms of equal size, intervals over pictures and seeds."""

import numpy as np
import pytest

from studies.leak import Data, analysed, arms_of, asked_alike, mean_of, read
from studies.small_vlm import Asked
from winnow.errors import UserError


def made(pictures=20, leaked=10):
    """Three rows a picture; the first ``leaked`` pictures are those of the test, two questions each."""
    rows = tuple(Asked(p, ("row", str(n)), ("yes",)) for p in range(pictures) for n in range(3))
    test = tuple(Asked(p, ("row" if n else "other", "1"), ("no",)) for p in range(leaked) for n in range(2))
    matched = np.array([row.picture if row.picture < leaked else -1 for row in rows])
    return Data(tuple(map(str, range(pictures))), rows, test, matched, {})


def test_each_half_holds_no_row_of_the_other():
    data = made()
    arms, in_first = arms_of(data, 4)
    pictures = {name: {data.rows[row].picture for row in rows} for name, rows in arms.items()}
    first = {row.picture for row, first in zip(data.test, in_first, strict=True) if first}
    assert len(first) == 5
    assert pictures["curated"] == set(range(10, 20))
    assert pictures["half 0"] == first | set(range(10, 20))
    assert pictures["half 1"] == set(range(20)) - first
    assert pictures["random of half 0"] <= pictures["half 0"]
    sizes = {len(arms[name]) for name in ("curated", "random of all", "random of half 0", "random of half 1")}
    assert sizes == {30}
    again, _ = arms_of(data, 4)
    assert all((again[name] == rows).all() for name, rows in arms.items())
    assert (arms_of(data, 5)[0]["half 0"] != arms["half 0"]).any()


def test_questions_alike_are_those_about_the_same_picture():
    data = made()
    assert asked_alike(data).tolist() == [row.question[0] == "row" for row in data.test]


def test_inflation_is_leaked_minus_held_picture_by_picture():
    data, seeds = made(), 3
    answers = {}
    for seed in range(seeds):
        arms, in_first = arms_of(data, seed)
        for name in [*arms, "all, blind", "curated, blind"]:
            knows = {"half 0": in_first, "half 1": ~in_first}.get(name, np.full(len(data.test), name == "all"))
            for when in ("early", "end"):
                answers[seed, name, when] = knows.astype(float) if when == "end" else np.zeros(len(data.test))
    found = analysed(data, answers, seeds)
    assert found["differences"]["inflation: leaked minus held picture"]["mean"] == 1.0
    assert found["differences"]["all rows minus curated"]["mean"] == 1.0
    longer = found["conclusions"]["longer training is better: 15 minus 4 epochs"]
    assert (longer["leaked"]["mean"], longer["not_leaked"]["mean"]) == (1.0, 0.0)


def test_the_interval_is_over_pictures_and_seeds():
    rng = np.random.default_rng(0)
    pictures = np.repeat(np.arange(60), 3)
    truth = rng.normal(0.2, 1.0, 60)
    by_picture = truth[pictures] + np.zeros((6, 1))
    found = mean_of(by_picture, pictures)
    assert found["mean"] == pytest.approx(truth.mean())
    width = (found["high"] - found["low"]) / 2
    assert width == pytest.approx(1.96 * truth.std(ddof=1) / np.sqrt(60), rel=0.15)
    moved = mean_of(by_picture + rng.normal(0, 1.0, (6, 1)), pictures)
    assert moved["high"] - moved["low"] > 2 * width * 1.5


def test_a_missing_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"trainset\.json: is not there; get VQA-RAD \(CC0 1\.0\) by `git clone"):
        read(tmp_path, tmp_path / "out")
