"""Every shipped recipe on a tiny model of its family: parsed, planned and, family by family, trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.recipe import load
from finetune.training.run import dry_run
from tests.finetune import models
from winnow.errors import UserError

RECIPES = sorted(path for path in Path("finetune/recipes").glob("*.yaml") if path.stem != "demo")
FAMILY_OF = {"qwen2_5_vl": "qwen2_5_vl", "qwen3_vl": "qwen3_vl", "llava_1_5": "llava_1_5", "smolvlm2": "smolvlm",
             "llava_onevision": "llava_onevision", "internvl3": "internvl", "gemma3": "gemma3",
             "paligemma": "paligemma"}  # fmt: skip


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    return {name: models.checkpoint(name, tmp_path_factory.mktemp(name), weights=False) for name in models.CONFIGS}


def test_every_family_has_a_recipe_for_both_sizes():
    names = {path.stem.rsplit("_", 1)[0] for path in RECIPES}
    assert names == set(FAMILY_OF)
    assert {path.stem for path in RECIPES} == {f"{name}_{size}gb" for name in names for size in (16, 24)}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_plans_on_its_family(path, checkpoints, toy_data, tmp_path, capsys, monkeypatch):
    recipe = load(path)
    assert recipe.name == path.stem
    monkeypatch.setattr("winnow.run.git_commit", lambda: None)
    changes = {"model": str(checkpoints[FAMILY_OF[path.stem.rsplit("_", 1)[0]]]), "data": toy_data, "num_workers": 0}
    if recipe.chat_template:  # written for LLaVA's own stop token, which the toy tokenizer does not have
        changes["chat_template"] = None
    toy = {"captions": "captions", "vqa": "toy"}
    stages = [stage.model_copy(update={"filter": {"source": toy[stage.filter["source"]]}}) for stage in recipe.stages]
    groups = dry_run(recipe.model_copy(update={**changes, "stages": stages}), tmp_path)
    printed = capsys.readouterr().out
    assert f"name: {recipe.name}" in printed and "versions: " in printed and "digests: " in printed
    states = {(group.part, group.state) for group in groups}
    assert ("decoder", "LoRA") in states and ("decoder", "trained") not in states
    assert (("decoder", "4-bit") in states) == (recipe.quantization == "nf4")
    assert (("projector", "trained") in states) == recipe.projector
    vision = {state for part, state in states if part == "vision tower"}
    assert ("LoRA" in vision) == (recipe.vision == "lora")
    assert ("trained" in vision) == (recipe.vision not in ("frozen", "lora"))


def test_the_seed_setting_is_among_them():
    recipe = load(Path("finetune/recipes/llava_1_5_16gb.yaml"))
    (stage,) = recipe.resolved_stages()
    assert (recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout) == (8, 16, 0.1)
    assert recipe.lora_targets == ["q_proj", "v_proj"] and recipe.quantization == "nf4"
    assert (stage.batch_size, stage.gradient_accumulation) == (4, 8)
    assert "zero3.yaml" in Path("finetune/recipes/llava_1_5_16gb.yaml").read_text()


def test_plan_leaves_no_run_folder(checkpoints, recipe_of, tmp_path, capsys):
    recipe = recipe_of(model=str(checkpoints["llava_1_5"]))
    dry_run(recipe, tmp_path / "plan")
    assert not recipe.folder.exists()
    with pytest.raises(UserError, match="no such folder"):
        dry_run(recipe_of(model=str(tmp_path / "nothing")), tmp_path / "plan")


REFUSED = {"idefics2": ("plan", "this processor cannot be used for training")}


@pytest.mark.slow
@pytest.mark.parametrize("family", models.CONFIGS)
def test_a_tiny_model_of_the_family_goes_the_whole_way(family, tmp_path):
    """4-bit, LoRA in both towers, projector: planned, trained, saved, merged and reloaded, or refused by name."""
    import pandas as pd
    from safetensors.torch import load_file

    from studies.families import STAGES, whole_way

    reached = whole_way(family, tmp_path)
    if family in REFUSED:
        stage, sentence = REFUSED[family]
        assert list(reached)[-1] == stage and sentence in reached[stage]
        return
    assert reached == dict.fromkeys(STAGES, "ok")
    run = tmp_path / "run"
    losses = pd.read_parquet(run / "losses.parquet")["loss"]
    assert losses.notna().all() and losses.between(1, 12).all()
    names = " ".join(load_file(run / "adapter" / "adapter_model.safetensors"))
    assert "lora_A" in names and any(word in names for word in ("projector", "merger", "connector"))
    assert any(word in names for word in ("vision", "visual"))
