"""Recipes: strict keys, stages with every value filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.recipe import TrainRecipe, load
from winnow.errors import UserError

BASE = {"name": "a", "model": "m", "data": "d"}


def test_unknown_key_names_its_neighbour(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nmodel: m\ndata: d\nlearnin_rate: 1\n")
    with pytest.raises(UserError, match=r"unknown key 'learnin_rate'; did you mean learning_rate"):
        load(path)


def test_unknown_key_in_a_stage(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nmodel: m\ndata: d\nstages: [{max_step: 3}]\n")
    with pytest.raises(UserError, match="max_steps"):
        load(path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("join_turns: 3", r"key 'join_turns' is now called 'questions_per_image'"),
        ("stages: [{where: {source: vqa}}]", r"key 'stages.0.where' is now called 'filter'"),
        ("stages: [{mix: {vqa: 1}}]", r"key 'stages.0.mix' is now called 'weights'"),
    ],
)
def test_a_renamed_key_is_refused_with_its_new_name(tmp_path, lines, words):
    path = tmp_path / "r.yaml"
    path.write_text(f"name: a\nmodel: m\ndata: d\n{lines}\n")
    with pytest.raises(UserError, match=words):
        load(path)


def test_without_stages_there_is_one():
    (stage,) = TrainRecipe.model_validate({**BASE, "max_steps": 7, "learning_rate": 0.5}).resolved_stages()
    assert (stage.max_steps, stage.learning_rate, stage.rates["projector"]) == (7, 0.5, 0.5)
    assert stage.train == ["decoder", "projector"]


def test_a_stage_overrides_and_inherits():
    recipe = TrainRecipe.model_validate(
        {
            **BASE,
            "max_steps": 7,
            "learning_rate": {"decoder": 0.5, "projector": 0.1},
            "batch_size": 3,
            "stages": [{"train": ["projector"], "learning_rate": 0.2, "epochs": 2}, {"max_steps": 9}],
        }
    )
    first, second = recipe.resolved_stages()
    assert (first.max_steps, first.epochs) == (None, 2)  # its own epochs beat the recipe's max_steps
    assert (first.rates["projector"], first.batch_size) == (0.2, 3)
    assert (second.max_steps, second.train) == (9, ["decoder", "projector"])
    assert second.rates == {"decoder": 0.5, "projector": 0.1, "vision": 0.5}
    assert [stage.name for stage in (first, second)] == ["stage 1", "stage 2"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder": "frozen", "projector": False}, "nothing to train"),
        ({"projector": False, "stages": [{"train": ["projector"]}]}, "stage 1 trains"),
        ({"name": "../x"}, "name"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate: .*give a number or"),
        ({"learning_rate": {"projector": 1}}, "need one for decoder"),
        ({"vision": "last2"}, "vision: .*give frozen, lora, full or"),
        ({"learning_rate": {"projektor": 1}}, "projektor.*did you mean projector"),
    ],
)
def test_bad_values(tmp_path, changes, words):
    import yaml

    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}))
    with pytest.raises(UserError, match=words):
        load(path)


@pytest.mark.parametrize("path", sorted(Path("finetune/recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path):
    assert load(path).resolved_stages()
