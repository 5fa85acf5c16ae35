"""A merge tensor by tensor writes the bytes that a merge in memory writes, and needs no memory for the model."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path

import pytest
import torch

from finetune.export.merge import merged_model
from finetune.export.stream import NotStreamable, stream_merge
from finetune.model.adapter import build_learner
from finetune.model.load import load_base
from finetune.model.shards import read_tensors, tensor_keys, write_tensors
from finetune.recipe import TrainRecipe
from tests.finetune import models
from tests.finetune.toys import build_processor, llava_config
from winnow.vlm.tensor_names import save_under_published_names


def trained(folder: Path, model: Path, **options) -> TrainRecipe:
    """A recipe whose run folder has an adapter with noise in every trained number."""
    values = {
        "name": "x",
        "out": folder / "run",
        "model": str(model),
        "data": folder,
        "lora_rank": 4,
        "lora_dropout": 0,
    }
    recipe = TrainRecipe.model_validate({**values, **options})
    base = load_base(recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype)
    learner = build_learner(base, recipe)
    generator = torch.Generator().manual_seed(1)
    for parameter in learner.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    learner.model.save_pretrained(recipe.folder / "adapter")
    return recipe


VARIANTS = {
    "nf4": {"vision": "lora"},
    "int8": {"quantization": "int8", "vision": "full"},
    "dora": {"lora_variant": "dora"},
    "rslora": {"lora_variant": "rslora", "quantization": "none", "vision": {"last_n": 1}, "compute_dtype": "float32"},
}


@pytest.mark.slow
@pytest.mark.parametrize(("family", "variant"), [
    *((name, "nf4") for name in models.CONFIGS if "moe" not in name),
    *((name, variant) for name in ("llava_1_5", "qwen2_5_vl") for variant in VARIANTS if variant != "nf4"),
])  # fmt: skip
def test_streamed_bytes_are_those_of_a_merge_in_memory(family, variant, tmp_path):
    recipe = trained(tmp_path, models.checkpoint(family, tmp_path / "model", weights=True), **VARIANTS[variant])
    for into in ("original",) if recipe.quantization == "none" else ("original", "dequantized"):
        memory, streamed = tmp_path / f"memory-{into}", tmp_path / f"streamed-{into}"
        merged = merged_model(recipe, recipe.folder, into)
        save_under_published_names(merged)
        merged.save_pretrained(memory)
        stream_merge(recipe, recipe.folder, into, streamed)
        wanted, got = dict(read_tensors(memory)), dict(read_tensors(streamed))
        assert wanted.keys() == got.keys()
        for name, tensor in wanted.items():
            assert tensor.dtype == got[name].dtype and torch.equal(tensor, got[name]), name
        for name in ("config.json", "generation_config.json"):
            assert (memory / name).read_bytes() == (streamed / name).read_bytes()


def test_fused_experts_are_merged_in_memory(tmp_path):
    model = models.checkpoint("qwen3_vl_moe", tmp_path / "model", weights=True)
    recipe = trained(tmp_path, model)
    with pytest.raises(NotStreamable, match="experts"):
        stream_merge(recipe, recipe.folder, "dequantized", tmp_path / "out")


def test_shards_are_those_that_transformers_reads(tmp_path, tiny_model):
    from transformers import AutoModelForImageTextToText

    write_tensors(read_tensors(tiny_model), tmp_path, shard_bytes=50_000)
    assert len(set(tensor_keys(tmp_path).values())) > 2
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    wanted = AutoModelForImageTextToText.from_pretrained(tiny_model).state_dict()
    got = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


@pytest.mark.slow
def test_a_merge_needs_memory_for_a_shard_and_a_layer_only(tmp_path):
    from transformers import LlavaForConditionalGeneration

    from finetune.training.probe import _allocated

    processor = build_processor()
    config = llava_config(processor.tokenizer)
    for key, value in {"hidden_size": 1024, "intermediate_size": 2816, "head_dim": 256, "num_hidden_layers": 8}.items():
        setattr(config.text_config, key, value)
    LlavaForConditionalGeneration(config).bfloat16().save_pretrained(tmp_path / "model")
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    recipe = trained(tmp_path, tmp_path / "model", quantization="none", projector=False)

    def peak_of(merge):
        gc.collect()
        before = _allocated(reset=True)
        merge()
        return _allocated() - before

    layer = 2 * 1024 * 2816  # bytes of the largest weight
    merge = partial(stream_merge, recipe, recipe.folder, "original", shard_bytes=2 * layer)
    merge(tmp_path / "warm")  # what is imported by the first merge is not measured
    streamed = peak_of(lambda: merge(tmp_path / "b"))
    assert streamed < 16 * layer < 0.5 * size  # the shard and its bytes, and what PEFT makes of a layer in float32

    def merge_in_memory():
        merged = merged_model(recipe, recipe.folder, "original")
        save_under_published_names(merged)
        merged.save_pretrained(tmp_path / "a")

    in_memory = peak_of(merge_in_memory)
    assert in_memory > size
    wanted, got = dict(read_tensors(tmp_path / "a")), dict(read_tensors(tmp_path / "b"))
    assert wanted.keys() == got.keys() and all(torch.equal(wanted[name], got[name]) for name in wanted)
