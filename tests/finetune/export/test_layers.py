"""Which layers are quantised, by names that hold in every library, and what is refused in a written checkpoint."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune.export.layers import check_layout, layers_of
from finetune.recipe import TrainRecipe
from tests.finetune import models
from winnow.errors import UserError
from winnow.vlm.anatomy import below, find_parts
from winnow.vlm.models import empty_model
from winnow.vlm.tensor_names import save_under_published_names

FAMILIES = ("llava_1_5", "qwen2_5_vl", "qwen3_vl", "internvl", "smolvlm", "gemma3", "paligemma")


def ignored(patterns: list[str], name: str) -> bool:
    """As compressed-tensors reads its list: ``re:`` and a pattern matched from the start."""
    return any(re.match(pattern.removeprefix("re:"), name) for pattern in patterns)


@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_tell_the_decoder_from_the_rest_under_all_names(family, tmp_path):
    model = str(models.checkpoint(family, tmp_path, weights=False))
    empty, layers = empty_model(model), layers_of(model)
    decoder = find_parts(empty).decoder
    head = empty.get_output_embeddings()
    for name, module in empty.named_modules():
        if isinstance(module, torch.nn.Linear):
            inside = below(name, [decoder]) and module is not head
            published = layers.published[f"{name}.weight"].removesuffix(".weight")
            assert ignored(layers.ignored, name) == ignored(layers.ignored, published) != inside, name
            assert (published in layers.quantised) == inside
            assert bool(re.match(layers.decoder, name)) or not inside


def test_groups_fall_back_to_32(tmp_path):
    layers = layers_of(str(models.checkpoint("llava_1_5", tmp_path, weights=False)))  # layers of 64 and 128 inputs
    assert layers.group_size() == 32
    from dataclasses import replace

    assert replace(layers, widths=frozenset({128, 256})).group_size() == 128
    with pytest.raises(UserError, match="48 inputs, no multiple of 32"):
        replace(layers, widths=frozenset({48, 64})).group_size()


@pytest.fixture
def packed(tmp_path, tiny_model):
    """A checkpoint with the tensors of W4A16, and its layers."""
    from transformers import AutoModelForImageTextToText

    layers = layers_of(str(tiny_model))
    model = AutoModelForImageTextToText.from_pretrained(tiny_model)
    save_under_published_names(model)
    model.save_pretrained(tmp_path)
    tensors = {}
    for key, tensor in load_file(tmp_path / "model.safetensors").items():
        layer = key.removesuffix(".weight")
        if layer in layers.quantised:
            tensors |= {f"{layer}.weight_packed": tensor, f"{layer}.weight_scale": tensor.clone()}
        else:
            tensors[key] = tensor
    write(tmp_path, tensors, layers.ignored)
    return tmp_path, layers, tensors


def write(folder, tensors, listed):
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"ignore": listed, "quant_method": "compressed-tensors"}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_whole_checkpoint_passes(packed):
    folder, layers, _ = packed
    check_layout(folder, layers, packed=True)
    with pytest.raises(UserError, match="should be whole and is quantised"):
        check_layout(folder, layers, packed=False)


def test_names_of_layers_in_the_place_of_patterns_are_refused(packed):
    """What llm-compressor writes: transformers renames the layers as it loads, and quantises the tower."""
    folder, layers, tensors = packed
    named = ["model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", "lm_head"]
    write(folder, tensors, named)
    with pytest.raises(UserError, match="not the export's patterns"):
        check_layout(folder, layers, packed=True)


def test_a_quantised_tower_a_whole_layer_and_other_names_are_refused(packed):
    folder, layers, tensors = packed
    tower = next(key for key in tensors if key.startswith("vision_tower.") and key.endswith("q_proj.weight"))
    more = {**tensors, tower.replace(".weight", ".weight_packed"): tensors[tower].clone()}
    write(folder, more, layers.ignored)
    with pytest.raises(UserError, match=r"vision_tower\..* should be whole and is quantised"):
        check_layout(folder, layers, packed=True)
    layer = min(layers.quantised)
    fewer = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{layer}.")}
    write(folder, {**fewer, f"{layer}.weight": tensors[f"{layer}.weight_packed"].clone()}, layers.ignored)
    with pytest.raises(UserError, match="should be quantised and is whole"):
        check_layout(folder, layers, packed=True)
    fresh = {key.replace("vision_tower.vision_model.", "model.vision_tower."): value for key, value in tensors.items()}
    write(folder, fresh, layers.ignored)
    with pytest.raises(UserError, match="the name that the model's family publishes"):
        check_layout(folder, layers, packed=True)


def test_a_merge_mends_names_that_only_transformers_knows(tmp_path):
    """The toys are saved under transformers' own names, as `winnow.demo.vlm` once was."""
    from finetune.export.stream import stream_merge
    from finetune.selftest.toy import save_model
    from tests.finetune.export.test_stream import trained

    model = save_model(tmp_path / "fresh")
    assert not any(".vision_model." in key for key in load_file(model / "model.safetensors"))
    recipe: TrainRecipe = trained(tmp_path, model, quantization="none")
    stream_merge(recipe, recipe.folder, "original", tmp_path / "merged")
    check_layout(tmp_path / "merged", layers_of(str(model)), packed=False)
