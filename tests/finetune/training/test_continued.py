"""An adapter trained further: of a run, of another program, on a base that is gone or does not fit."""

import json
import shutil

import pytest
import yaml
from safetensors.torch import load_file

from finetune.export.merge import merge
from finetune.recipe import load
from finetune.training.run import dry_run, train
from tests.finetune.training.test_run import Killed, assert_same_result, die_after
from winnow.errors import UserError
from winnow.run import read_manifest

pytestmark = pytest.mark.slow  # they train


@pytest.fixture(scope="module")
def first(tiny_model, toy_data, tmp_path_factory):
    """A finished run in 4-bit with a chat template of its own and a cap on pixels."""
    from finetune.recipe import TrainRecipe

    folder = tmp_path_factory.mktemp("first")
    (folder / "chat.jinja").write_text((tiny_model / "chat_template.jinja").read_text().replace("assistant", "helper"))
    recipe = TrainRecipe(
        name="first", out=folder / "run", model=str(tiny_model), data=toy_data, evaluate={"same": toy_data},
        chat_template=folder / "chat.jinja", lora_rank=4, lora_alpha=6, learning_rate=5e-3, batch_size=2, max_steps=6,
        num_workers=0, max_length=128, max_pixels=200,
    )  # fmt: skip
    return train(recipe)


def recipe(folder, **values):
    path = folder / "recipe.yaml"
    values = {"name": "second", "out": str(folder / "run"), "batch_size": 2, "max_steps": 4, "num_workers": 0,
              "save_steps": 2, "max_length": 128, "learning_rate": 5e-3, **values}  # fmt: skip
    path.write_text(yaml.safe_dump({key: str(v) if key == "data" else v for key, v in values.items()}))
    return load(path)


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "evaluations.jsonl").read_text().splitlines()]


def test_the_second_run_begins_where_the_first_ended(first, tiny_model, toy_data, tmp_path, monkeypatch):
    asked = recipe(tmp_path, model=str(first / "adapter"), data=toy_data, evaluate={"same": str(toy_data)})
    assert (asked.model, asked.quantization, asked.lora_rank, asked.max_pixels) == (str(tiny_model), "nf4", 4, 200)
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            train(asked)
    second = train(asked)
    assert losses(second)[0] == pytest.approx(losses(first)[-1], rel=1e-5)
    whole = train(asked.model_copy(update={"out": tmp_path / "whole"}))
    assert_same_result(whole, second)
    before, after = (load_file(run / "adapter/adapter_model.safetensors") for run in (first, second))
    assert before.keys() == after.keys() and any((before[name] != after[name]).any() for name in before)
    assert "helper" in (second / "adapter/chat_template.jinja").read_text()
    assert read_manifest(second, finish_with="")["inputs"].keys() >= {"adapter", "model"}
    assert merge(second, tmp_path / "merged", into=None, count=4).passed


def test_other_shapes_are_refused(first, toy_data, tmp_path):
    adapter = str(first / "adapter")
    for key, value in {"lora_rank": 8, "quantization": "none", "lora_targets": ["q_proj"]}.items():
        with pytest.raises(UserError, match=f"{key}: the adapter .* was made with .*; leave the key out, or merge"):
            recipe(tmp_path, model=adapter, data=toy_data, **{key: value})
    with pytest.raises(UserError, match="holds nothing of the vision, which the recipe trains"):
        dry_run(recipe(tmp_path, model=adapter, data=toy_data, vision="lora"), tmp_path / "plan")
    with pytest.raises(UserError, match="does not fit"):
        other = json.loads((first / "adapter/adapter_config.json").read_text()) | {"target_modules": ["q_proj"]}
        moved = shutil.copytree(first / "adapter", tmp_path / "moved")
        (moved / "adapter_config.json").write_text(json.dumps(other))
        dry_run(recipe(tmp_path, model=str(moved), data=toy_data), tmp_path / "plan")


def test_an_adapter_of_another_program(tiny_model, toy_data, tmp_path, capsys):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(tiny_model)
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(tmp_path / "theirs")
    given = str(tmp_path / "theirs")
    with pytest.raises(UserError, match="holds nothing of the projector"):
        train(recipe(tmp_path, model=given, data=toy_data))
    unknown = "does not tell how its base was quantised; this run takes quantization: nf4"
    assert unknown in " ".join(capsys.readouterr().err.split())
    exact = {"quantization": "none", "compute_dtype": "float32"}
    asked = recipe(tmp_path, model=given, data=toy_data, projector=False, vision="lora", **exact)
    run = train(asked)
    assert "quantised; this run takes" not in " ".join(capsys.readouterr().err.split())
    assert asked.lora_rank == 2 and merge(run, tmp_path / "merged", into=None, count=4).passed
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "theirs", run / "adapter")
    )
    changed = [name for name in before if (before[name] != after[name]).any()]
    assert before.keys() == after.keys() and any("vision_tower" in name for name in changed)
    values = json.loads((tmp_path / "theirs/adapter_config.json").read_text())
    (tmp_path / "theirs/adapter_config.json").write_text(
        json.dumps({**values, "base_model_name_or_path": "/gone/base"})
    )
    with pytest.raises(UserError, match=r"its base /gone/base is not here; name the base with `model: BASE`"):
        recipe(tmp_path, model=given, data=toy_data)
    assert recipe(tmp_path, model=str(tiny_model), adapter=given, data=toy_data).adapter == given


@pytest.mark.parametrize(
    "lost", ["language_model.layers.0.self_attn.q_proj.lora_B", "multi_modal_projector.linear_1.weight"]
)
def test_a_file_that_lacks_a_tensor(first, tmp_path, lost):
    """A trained copy of a module that is missing counts like a LoRA tensor; one too many is named."""
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText

    from winnow.vlm.experts import load_adapter

    folder = shutil.copytree(first / "adapter", tmp_path / "adapter")
    weights_file = "adapter_model.safetensors"
    weights = load_file(folder / weights_file)
    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    lost_name = next(name for name in weights if lost in name)
    del weights[lost_name]
    save_file(weights, folder / weights_file)
    with pytest.raises(UserError, match=rf"holds 31 of the 32 tensors .*{lost}"):
        load_adapter(AutoModelForImageTextToText.from_pretrained(base), folder)
    whole = load_file(first / "adapter/adapter_model.safetensors")
    save_file({**whole, "base_model.model.other.weight": whole[lost_name].clone()}, folder / weights_file)
    with pytest.raises(UserError, match=r"1 of its tensors .*, such as base_model\.model\.other"):
        load_adapter(AutoModelForImageTextToText.from_pretrained(base), folder)
