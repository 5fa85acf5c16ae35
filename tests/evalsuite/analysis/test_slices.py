"""Slices: the ones that were planted are found, chance and small numbers are not."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import made_row, spec_of, write_evaluation
from typer.testing import CliRunner

from evalsuite.analysis.results import score_rows
from evalsuite.analysis.rows import rows_of
from evalsuite.analysis.slices import find_slices, properties, quarters, rank_slices
from evalsuite.cli import app
from evalsuite.statistics import Property, excess_errors, interval
from winnow.errors import UserError

RNG = np.random.default_rng(4)


def planted(count: int = 1200, per_image: int = 4) -> list[dict]:
    """A tenth of all rows is wrong, but half of those with shape b and colour y."""
    generator = np.random.default_rng(11)
    rows = []
    for number in range(count):
        shape, colour, noise = "ab"[number % 2], "xyz"[number // per_image % 3], "pq"[generator.integers(2)]
        wrong = generator.random() < (0.5 if (shape, colour) == ("b", "y") else 0.1)
        slices = {"slice_shape": shape, "slice_colour": colour, "slice_noise": noise}
        rows.append(made_row(number, "blue" if wrong else "red", images=per_image, **slices))
    return rows


def test_planted_pair_is_found_first_and_noise_is_not() -> None:
    result = score_rows(spec_of(), planted())
    found = rank_slices(result, None, 30)
    first = found["slices"][0]
    assert first["where"] == {"colour": "y", "shape": "b"} and first["n"] == 200
    assert 0.4 < first["rate"] < 0.6 and first["q"] < 1e-6 and 0 < first["low"] < first["excess"] < first["high"]
    assert first["excess"] == pytest.approx(200 * (first["rate"] - found["error"]))
    assert {"shape", "colour", "noise"} <= set(found["columns"])
    noted = [one["where"] for one in found["slices"] if one["q"] < 0.05 and one["excess"] > 0]
    assert all("noise" not in where for where in noted)
    assert {"shape": "b"} in noted and {"colour": "y"} in noted
    assert not any(len(where) > 1 and where != {"colour": "y", "shape": "b"} for where in noted)


def test_small_slices_are_guarded() -> None:
    rows = planted(400)
    for row in rows[:25]:
        row.update(slice_rare="yes", raw="blue")
    for row in rows[25:]:
        row.update(slice_rare="no")
    for row in rows[100:140]:
        row.update(slice_one_image="yes", image_keys=["the same"], raw="blue")
    result = score_rows(spec_of(), rows)
    names = [name for one in rank_slices(result, None, 30)["slices"] for name in one["where"].items()]
    assert ("rare", "yes") not in names and ("one image", "yes") not in names
    assert any(one["where"] == {"rare": "yes"} for one in rank_slices(result, None, 10)["slices"]) is False, "7 images"
    assert ("rare", "no") in names


def test_excess_interval_agrees_with_the_clustered_bootstrap() -> None:
    clusters = np.repeat(np.arange(150), 4)
    errors = (RNG.random(600) < np.repeat(RNG.random(150), 4)).astype(float)
    mask = RNG.random(600) < 0.3
    found = excess_errors(errors, mask, clusters)
    sums = np.stack([errors * mask, mask, errors, np.ones(600)], axis=1)
    sampled = interval(sums, clusters, lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3], seed=1)
    assert found.excess == pytest.approx(mask.sum() * sampled.value)
    assert found.low == pytest.approx(mask.sum() * sampled.low, abs=0.12 * (found.high - found.low))
    assert found.high == pytest.approx(mask.sum() * sampled.high, abs=0.12 * (found.high - found.low))
    assert (found.n, found.clusters) == (mask.sum(), len(set(clusters[mask])))


def test_no_excess_is_found_as_often_as_the_test_allows() -> None:
    low = 0
    for trial in range(300):
        generator = np.random.default_rng(trial)
        errors = (generator.random(400) < np.repeat(generator.random(100), 4)).astype(float)
        low += excess_errors(errors, np.repeat(generator.random(100) < 0.4, 4), np.repeat(np.arange(100), 4)).p < 0.05
    assert 0.02 <= low / 300 <= 0.09


def spelled(known: Property) -> list[str]:
    return [known.values[code] for code in known.codes]


def test_properties_name_what_rows_are_like() -> None:
    rows = [
        made_row(0, "x", references=["Yes", "yes"]), made_row(1, "x", references=["12%", "12%", "9"]),
        made_row(2, "x", references=["a dark red barn here", "barn", "house"]),
    ]  # fmt: skip
    found = {name: spelled(known) for name, known in properties(rows_of(rows), None).items()}
    assert found["kind of answer"] == ["yes or no", "number", "other"]
    assert found["agreement of references"] == ["half or fewer agree", "most agree", "half or fewer agree"]
    assert found["words in answer"] == ["1", "1", "4 or more"]
    assert "images" not in found, "one value says nothing"


def test_quarters_split_by_rank_and_keep_few_values() -> None:
    assert spelled(quarters(np.array([3.0, np.nan, 1.0, 3.0]))) == ["3", "", "1", "3"]
    named = spelled(quarters(np.arange(100.0)))
    assert [named.count(one) for one in dict.fromkeys(named)] == [25, 25, 25, 25]
    assert named[0] == "lowest quarter (≤ 24.75)" and named[99] == "highest quarter (> 74.25)"


def test_signals_of_a_curated_set_become_properties(tmp_path: Path) -> None:
    """Blurred test images, known from the signals of an evaluation set beside the training set, fail more."""
    rows = [made_row(n, "blue" if n % 4 == 0 else "red") for n in range(400)]
    folder = tmp_path / "curated" / "against" / "made%2Ftest" / "signals"
    folder.mkdir(parents=True)
    (tmp_path / "curated" / "signals").mkdir()
    keys = [row["image_keys"][0] for row in rows]
    sharp = [5.0 + n / 1000 if n % 4 == 0 else 50.0 + n / 1000 for n in range(400)]
    pq.write_table(
        pa.table({"image_key": keys, "sharpness": sharp, "width": [64] * 400, "height": [64] * 400}),
        folder / "part-0.parquet",
    )
    run = write_evaluation(tmp_path / "run", rows)
    found = find_slices(run, only=None, curated=tmp_path / "curated", min_rows=30)["tasks"]["made"]
    assert found["slices"][0]["name"].startswith("sharpness = lowest quarter") and found["slices"][0]["rate"] > 0.95
    output = CliRunner().invoke(app, ["slices", str(run), "--curated", str(tmp_path / "curated"), "--json"]).output
    assert json.loads(output)["tasks"]["made"] == found
    assert (
        "sharpness = lowest quarter"
        in CliRunner()
        .invoke(app, ["slices", str(run), "--curated", str(tmp_path / "curated")], env={"COLUMNS": "200"})
        .output
    )
    with pytest.raises(UserError, match="holds no signals"):
        find_slices(run, only=None, curated=tmp_path / "nowhere", min_rows=30)
    with pytest.raises(UserError, match="holds no task 'other'"):
        find_slices(run, only="other", curated=None, min_rows=30)


def test_report_draws_every_value_of_a_slice_once(tmp_path: Path) -> None:
    rows = [made_row(number, "red", slice_shop="abc"[number % 3]) for number in range(9)]
    page = (write_evaluation(tmp_path / "run", rows, slices=["shop"]) / "report.html").read_text()
    plot = page.partition('aria-label="accuracy by shop"')[2].partition("</svg>")[0]
    assert re.findall(r'class="label"[^>]*>([^<]*)<', plot) == ["a", "b", "c"]
