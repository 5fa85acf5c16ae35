"""Chosen minus random: which evaluations belong together, the paired interval, and what is kept of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from made import made_row, write_evaluation
from typer.testing import CliRunner

from evalsuite.analysis.chosen import chosen_minus_random, keep_proofs
from evalsuite.cli import app
from winnow.errors import UserError


def manifest(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder


def evaluated(root: Path, name: str, right: list[int], strategy: str, seed: int = 0, **more: object) -> Path:
    """An evaluation of a model trained on a selection; two rows share an image."""
    selection = {
        "of": str(root / "set"), "made_from": {"samples.jsonl": "a"}, "strategy": strategy, "columns": [], "per": None,
        "budget": "20%", "seed": 0, **more,
    }  # fmt: skip
    part = manifest(root / f"part-{name}", stage="curate", selection=selection, outputs={"samples.jsonl": name})
    run = manifest(
        root / f"run-{name}", stage="finetune", recipe={"data": str(part), "seed": seed}, inputs={"data": name}
    )
    rows = [made_row(n, "red" if hit else "blue", images=2) for n, hit in enumerate(right)]
    folder = write_evaluation(root / f"eval-{name}", rows)
    found = json.loads((folder / "manifest.json").read_text())
    found["recipe"]["model"] = {"path": "a/model", "adapter": str(run / "adapter")}
    (folder / "manifest.json").write_text(json.dumps(found))
    (root / "set").mkdir(exist_ok=True)
    return folder


def answers(share: float, seed: int) -> list[int]:
    return (np.random.default_rng(seed).random(60) < share).astype(int).tolist()


def test_a_clear_gain_is_one_and_is_kept_for_the_next_selection(tmp_path: Path) -> None:
    good = evaluated(tmp_path, "good", [1] * 50 + [0] * 10, "coverage")
    base = evaluated(tmp_path, "base", [1] * 20 + [0] * 40, "random")
    (found,) = chosen_minus_random([base, good])
    assert found["difference"] == pytest.approx(0.5)
    assert (found["n"], found["images"], found["verdict"]) == (60, 30, "better than random")
    assert 0 < found["ci_low"] < 0.5 < found["ci_high"]
    assert found["sentence"].startswith("coverage 20% on made, accuracy: chosen minus random: +50.0 points [+")
    assert "one run each" in found["sentence"]
    (kept,) = keep_proofs([found])
    assert kept.parent == tmp_path / "set" / "selections"
    assert json.loads(kept.read_text())["sentence"] == found["sentence"]


def test_a_difference_within_chance_is_none_and_seeds_must_agree(tmp_path: Path) -> None:
    folders = [
        evaluated(tmp_path, f"{strategy}{seed}", answers(0.5, 7 * seed + len(strategy)), strategy, seed)
        for strategy in ("loss", "random") for seed in (1, 0)
    ]  # fmt: skip
    (found,) = chosen_minus_random(folders)
    assert found["sentence"].endswith("no better than random")
    assert "means of 2 seeds" in found["sentence"]
    assert found["chosen"] == [str(folders[1]), str(folders[0])], "by training seed"
    high = evaluated(tmp_path, "high", [1] * 60, "loss", 0)
    low = evaluated(tmp_path, "low", [0] * 10 + [1] * 50, "loss", 1)
    bases = [evaluated(tmp_path, f"b{seed}", row, "random", seed) for seed, row in ((0, [0] * 60), (1, [1] * 60))]
    (found,) = chosen_minus_random([high, low, *bases])
    assert found["ci_low"] > 0
    assert found["verdict"] == "no better than random", "the second seed says otherwise"


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    good = evaluated(tmp_path, "good", [1] * 4, "coverage")
    other = evaluated(tmp_path, "other", [1] * 4, "loss")
    base = evaluated(tmp_path, "base", [1] * 4, "random")
    small = evaluated(tmp_path, "small", [1] * 4, "random", budget="10%")
    alien = evaluated(tmp_path, "alien", [1] * 4, "random", made_from={"samples.jsonl": "b"})
    for folders, sentence in (
        ([good], "1 of the models were trained on chosen rows and 0 on random ones"),
        ([good, other, base, base], "different selections"),
        ([good, small], "another budget"),
        ([good, alien], "another set"),
    ):
        with pytest.raises(UserError, match=sentence):
            chosen_minus_random(folders)
    manifest(tmp_path / "part-base", stage="curate", selection={}, outputs={"samples.jsonl": "changed"})
    with pytest.raises(UserError, match="has changed since"):
        chosen_minus_random([good, base])
    with pytest.raises(UserError, match="in no finished run"):
        chosen_minus_random([write_evaluation(tmp_path / "bare", [made_row(0, "red")])])


def test_command(tmp_path: Path) -> None:
    good = evaluated(tmp_path, "good", [1] * 8, "coverage")
    base = evaluated(tmp_path, "base", [1] * 8, "random")
    done = CliRunner().invoke(app, ["chosen", str(good), str(base)])
    assert done.exit_code == 0, done.output
    assert "no better than random" in done.output
    assert list((tmp_path / "set" / "selections").glob("*.json"))
