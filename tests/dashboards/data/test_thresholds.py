"""Moved thresholds against deciding with the moved recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from curate.pipeline import decide_again
from curate.recipe import Rule
from dashboards.data.catalog import Folder, scan
from dashboards.data.thresholds import (
    Threshold,
    histogram,
    positions_near,
    preview,
    rows_near,
    threshold_values,
    thresholds,
)
from tests.dashboards.curated import recipe


@pytest.fixture(scope="module")
def folder(small: Path) -> Folder:
    found = scan(small).find("curated", "small")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def found(folder: Folder) -> list[Threshold]:
    return thresholds(folder)


def test_every_number_of_the_rules_is_found(found: list[Threshold]) -> None:
    listed = [threshold for threshold in found if threshold.rule in ("blurry", "misaligned")]
    assert [(moved.rule, moved.left, moved.sign, moved.number) for moved in listed] == [
        ("blurry", "sharpness", "<", 40.0),
        ("blurry", "entropy", ">", -1.5),
        ("misaligned", "clip_alignment", "<", -0.5),
    ]
    assert found[1].moved(0.25) == "sharpness < 40 AND entropy > 0.25"
    assert found[0].moved(-2) == "sharpness < -2 AND entropy > -1.5"


@pytest.mark.parametrize("number", [0.0, 40.0, 70.0, 73.5, 1000.0])
def test_preview_equals_deciding_with_the_moved_recipe(
    number: float, small: Path, folder: Folder, found: list[Threshold], tmp_path: Path
) -> None:
    moved = recipe(small)
    changed = {**moved.rules, "blurry": Rule(when=found[0].moved(number), action="drop")}
    shutil.copytree(small / "curated" / "small", tmp_path / "moved")
    decide_again(moved.model_copy(update={"rules": changed, "out": tmp_path / "moved"}), "moved.yaml")
    decisions = pd.read_parquet(tmp_path / "moved" / "decisions.parquet")
    fired = decisions["rules"].map(lambda rules: [rule["rule"] for rule in rules])
    drops = {"blurry", "duplicate", "contaminated"}
    shown = preview(folder, found[0], number)
    assert shown.rows == len(decisions)
    assert shown.fires == (1, int(fired.map(lambda names: "blurry" in names).sum()))
    assert shown.alone == int(fired.map(lambda names: drops.intersection(names) == {"blurry"}).sum())
    assert shown.kept[1] == int((decisions["decision"] != "drop").sum())
    assert sum(rows for _, rows, _, _ in shown.by_source) == len(decisions)
    assert sum(now for _, _, _, now in shown.by_source) == shown.fires[1]


def test_values_are_the_stored_signals(small: Path, folder: Folder, found: list[Threshold]) -> None:
    stored = pd.concat(map(pd.read_parquet, (small / "curated/small/signals").glob("part-*.parquet")))
    samples = pd.read_parquet(small / "curated/small/samples.parquet")
    expected = stored.set_index("image_key")["sharpness"].reindex([keys[0] for keys in samples["image_keys"]])
    shown = threshold_values(folder, found[0])
    np.testing.assert_array_equal(shown, expected.to_numpy())
    bins = histogram(folder, found[0])
    assert bins.counts.sum() + bins.missing == len(samples)


def test_cases_lie_on_both_sides(small: Path, folder: Folder, found: list[Threshold]) -> None:
    known = threshold_values(folder, found[0])
    middle = float(np.median(known[np.isfinite(known)]))
    below, above = positions_near(folder, found[0], middle, 3)
    assert all(value < middle for _, value in below) and all(value >= middle for _, value in above)
    assert [value for _, value in above] == sorted({v for v in known if v >= middle})[:3]
    assert [value for _, value in below] == sorted({v for v in known if v < middle})[::-1][:3]
    assert all(known[row] == value for row, value in [*below, *above]), "every sample here has one image"
    samples = pd.read_parquet(small / "curated/small/samples.parquet")
    for side, places in zip(rows_near(folder, found[0], middle, 3), (below, above), strict=True):
        assert [value for _, value in side] == [value for _, value in places]
        assert [case.sample_id for case, _ in side] == [samples["sample_id"][place] for place, _ in places]
