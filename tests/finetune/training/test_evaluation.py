"""Evaluation between steps: training goes on as if there were none, the best step is kept, a kill changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from finetune.recipe import load
from finetune.training.evaluation import TaskScore, best_step
from finetune.training.run import train
from tests.finetune.training.test_run import Killed, adapter_of, assert_same_result, die_after
from winnow.errors import UserError

pytestmark = pytest.mark.slow  # they train


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


@pytest.fixture
def contrary(toy_data) -> Iterator[Path]:
    """The toy questions with answers that are never trained: the better the training, the higher this set's loss."""
    rows = [json.loads(line) for line in toy_data.read_text().splitlines()]
    for row in rows:
        row["conversations"][1]["value"] = "汉字 é ü"
    path = toy_data.parent / "contrary.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    yield path
    path.unlink()  # all tests share the folder


@pytest.fixture
def task(toy_data, tmp_path) -> Path:
    values = {
        "name": "toy_colours", "description": "the toys", "prompt": "{question}",
        "source": {"location": str(toy_data), "image_root": str(toy_data.parent)},
        "generation": {"max_new_tokens": 4}, "extraction": {"kind": "choice", "choices": ["yes", "no", "red", "green"]},
        "metrics": {"accuracy": {}},
    }  # fmt: skip
    path = tmp_path / "toy_colours.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_training_goes_on_as_if_nothing_was_measured(recipe_of, toy_data, task, tmp_path):
    """In 4-bit and with dropout: neither weights nor random numbers know of losses and of generated answers."""
    plain = train(recipe_of(out=tmp_path / "plain", num_workers=1))
    measured = {"evaluate": {"held": str(toy_data)}, "eval_tasks": {str(task): 6}, "eval_steps": 1}
    watched = train(recipe_of(out=tmp_path / "watched", num_workers=1, **measured))
    ours, theirs = adapter_of(plain), adapter_of(watched)
    assert all((ours[name] == theirs[name]).all() for name in ours)
    lines = lines_of(watched)
    assert [(line["stage"], line["step"], line["name"]) for line in lines] == [
        (stage, step, name) for stage, step in ((-1, 0), (0, 1), (0, 2), (0, 3), (0, 4)) for name in ("held", str(task))
    ]
    scores = [line for line in lines if line["name"] == str(task)]
    assert all(line["rows"] == 6 and 0 <= line["low"] <= line["value"] <= line["high"] <= 1 for line in scores)


def test_the_score_is_that_of_evalsuite(recipe_of, task, tmp_path):
    """Trained until the answers are right for some rows; then `evalsuite run` on the adapter gives the same score."""
    from evalsuite.runs.run import run_recipe

    exact = {"compute_dtype": "float32", "quantization": "none", "lora_dropout": 0.0}
    recipe = recipe_of(max_steps=40, batch_size=8, save_steps=40, learning_rate=2e-2, lora_rank=16, **exact,
                       eval_tasks={str(task): 30})  # fmt: skip
    last = lines_of(train(recipe))[-1]
    settings = {"path": recipe.model, "adapter": str(recipe.folder / "adapter"), "merge_adapter": "none",
                "dtype": "float32", "device": "cpu", "share_prefix": False}  # fmt: skip
    asked = {"name": "same", "out": str(tmp_path / "same"), "model": settings, "tasks": [str(task)], "limit": 30,
             "batch_size": recipe.batch_size}  # fmt: skip
    path = tmp_path / "same.yaml"
    path.write_text(yaml.safe_dump(asked))
    _, scores, _ = run_recipe(path)
    found = scores["tasks"]["toy_colours"]["metrics"]["accuracy"]
    assert 0 < last["value"] < 1
    assert (last["value"], last["low"], last["high"]) == (found["value"], found["ci_low"], found["ci_high"])


# Steps so large that the loss of what is never trained soon rises again.
JUMPY = {"scheduler": "constant", "warmup": 0, "learning_rate": 0.1, "save_steps": 1}


def test_best_step_is_kept_and_patience_ends_the_stage(recipe_of, contrary, tmp_path):
    """The run stops two evaluations after the best one, whose weights are those of a run that ends there."""
    watch = {"evaluate": {"contrary": str(contrary)}, "eval_steps": 1, "best": "contrary", "patience": 2}
    folder = train(recipe_of(out=tmp_path / "watched", max_steps=8, **watch, **JUMPY))
    losses = [line["loss"] for line in lines_of(folder) if line["stage"] == 0]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 8
    short = train(recipe_of(out=tmp_path / "short", max_steps=best, **JUMPY))
    ours, theirs = adapter_of(folder), adapter_of(short)
    assert all((ours[name] == theirs[name]).all() for name in ours)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kept_steps"] == {"train": best} and manifest["counts"]["steps"] == best + 2
    assert f"| contrary | after train, step {best} | loss {min(losses):.4f} |" in (folder / "report.md").read_text()


def test_kills_change_nothing(recipe_of, contrary, task, tmp_path, monkeypatch):
    """Killed at the best step, after it, and when patience was out: weights, losses, figures are the same."""
    watch = {"evaluate": {"contrary": str(contrary)}, "eval_tasks": {str(task): 4}, "eval_steps": 1,
             "best": "contrary", "patience": 2}  # fmt: skip
    whole = train(recipe_of(out=tmp_path / "whole", max_steps=8, **watch, **JUMPY))
    last = lines_of(whole)[-1]["step"]
    killed = recipe_of(out=tmp_path / "killed", max_steps=8, **watch, **JUMPY)
    for step in (last - 2, last - 1, last):
        with monkeypatch.context() as patch:
            die_after(patch, step)
            with pytest.raises(Killed):
                train(killed)
    assert_same_result(whole, train(killed))
    assert lines_of(whole) == lines_of(killed.folder)


def test_the_next_stage_starts_from_the_best_step(recipe_of, contrary, tmp_path):
    stages = [{"max_steps": 5}, {"max_steps": 2}]
    watch = {"evaluate": {"contrary": str(contrary)}, "eval_steps": 1, "best": "contrary", "keep_checkpoints": 1}
    watched = recipe_of(out=tmp_path / "watched", stages=stages, **watch, **JUMPY)
    folder = train(watched)
    best = [json.loads((folder / "manifest.json").read_text())["kept_steps"][f"stage {n}"] for n in (1, 2)]
    assert best[0] < 5
    stages = [{"max_steps": steps} for steps in best]
    plain = train(recipe_of(out=tmp_path / "plain", stages=stages, **JUMPY))
    ours, theirs = adapter_of(folder), adapter_of(plain)
    assert all((ours[name] == theirs[name]).all() for name in ours)
    left = sorted(str(path.relative_to(folder / "checkpoints")) for path in folder.glob("checkpoints/*/*"))
    assert left == ["stage-0/checkpoint-5", "stage-1/checkpoint-2"]
    assert (folder / "checkpoints/stage-0/checkpoint-5/processor_config.json").is_file()
    assert train(watched) == folder  # which is up to date


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"eval_steps": 5}, "name sets in evaluate or tasks in eval_tasks"),
        ({"evaluate": {"held": "x"}, "eval_steps": 5, "best": "hold"}, "did you mean held"),
        ({"evaluate": {"held": "x"}, "best": "held"}, "set eval_steps"),
        ({"evaluate": {"held": "x"}, "eval_steps": 5, "patience": 1}, "set `best` to"),
    ],
)
def test_keys_that_need_others(tmp_path, changes, sentence):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "t", "model": "m", "data": "d", **changes}))
    with pytest.raises(UserError, match=sentence):
        load(path)


@pytest.mark.parametrize(("lower", "wanted"), [(False, 4), (True, 2)])
def test_the_best_step_of_a_score_that_is_better_when_lower(lower, wanted):
    lines = [TaskScore(0, step, "t", "m", lower, value, None, None, 9) for step, value in ((2, 0.1), (4, 0.9))]
    assert best_step(lines, "t", 0) == wanted
