"""Mixture-of-experts models: fused experts are quantised, adapted, saved, merged, or the run is refused."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from finetune.model.adapter import build_learner, load_weights, module_groups
from finetune.model.load import load_base
from finetune.model.parts import lora_targets
from finetune.model.quantised import quantised_share
from finetune.training.run import dry_run
from tests.finetune import models
from winnow.errors import UserError
from winnow.vlm.anatomy import find_parts
from winnow.vlm.experts import load_adapter
from winnow.vlm.models import empty_model


@pytest.fixture(scope="module")
def moe(tmp_path_factory):
    return models.checkpoint("qwen3_vl_moe", tmp_path_factory.mktemp("moe"), weights=True)


@pytest.fixture
def tokens():
    return {"input_ids": torch.arange(5, 25).reshape(2, 10), "attention_mask": torch.ones(2, 10, dtype=torch.long)}


def logits(model, tokens):
    with torch.no_grad():
        return model.eval()(**tokens).logits.float()


def base_of(folder, quantization="nf4", dtype="float32"):
    return load_base(str(folder), quantization=quantization, compute_dtype=dtype)


def adapted(folder, recipe_of, **changes):
    recipe = recipe_of(model=str(folder), lora_dropout=0, compute_dtype="float32", **changes)
    torch.manual_seed(0)
    return build_learner(base_of(folder, recipe.quantization), recipe)


def shaken(learner):
    """The learner with random numbers in all its LoRA matrices."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in learner.model.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.1)
    return learner


def test_experts_are_four_bit(moe, tokens):
    """What the 4-bit model answers lies close to the original's, and at an eighth of the experts' size."""
    whole, packed = base_of(moe, "none"), base_of(moe)
    empty = empty_model(str(moe))
    experts = find_parts(empty).experts
    assert len(experts) == 4 and all(name.endswith(("experts.gate_up_proj", "experts.down_proj")) for name in experts)
    stored = dict(packed.named_parameters())
    original = dict(whole.named_parameters())
    for name in experts:
        module, _, short = name.rpartition(".")
        held = stored[f"{module}.parametrizations.{short}.original"]
        assert held.dtype == torch.uint8 and held.numel() * 2 == original[name].numel()
        restored = getattr(packed.get_submodule(module), short)
        assert restored.shape == original[name].shape
        assert 0 < (restored - original[name]).abs().mean() < 0.2 * original[name].abs().mean()
    assert quantised_share(packed, find_parts(packed), "nf4") == quantised_share(empty, find_parts(empty), "nf4") > 0.9
    wanted, got = logits(whole, tokens), logits(packed, tokens)
    assert 0 < (wanted - got).norm() / wanted.norm() < 0.3


def test_gradients_reach_every_expert_adapter(moe, recipe_of, tokens):
    learner = shaken(adapted(moe, recipe_of, projector=False))
    model = learner.model.train()
    for _ in range(2):  # a second pass must not build on what a first one left behind
        model.zero_grad()
        model(**tokens).logits.square().mean().backward()
    experts = {name: p for name, p in model.named_parameters() if ".experts." in name and ".lora_" in name}
    assert len(experts) == 2 * 2 * 2 and all(p.grad is not None and p.grad.any() for p in experts.values())
    first = logits(model, tokens)
    assert torch.equal(first, logits(model, tokens))


def test_the_update_is_what_lora_means(moe, recipe_of, tokens):
    """The adapter on 4-bit experts answers as the same adapter on the dequantised model, whole and merged."""
    learner = shaken(adapted(moe, recipe_of, projector=False))
    wanted = logits(learner.model, tokens)
    base = logits(base_of(moe), tokens)
    assert (wanted - base).norm() / base.norm() > 0.01
    learner.model.save_pretrained(folder := recipe_of().folder)
    plain = load_adapter(base_of(moe).dequantize(), folder)
    torch.testing.assert_close(logits(plain, tokens), wanted, atol=1e-4, rtol=1e-3)
    merged = plain.merge_and_unload(safe_merge=True)
    torch.testing.assert_close(logits(merged, tokens), wanted, atol=1e-4, rtol=1e-3)


def test_saved_and_loaded(moe, recipe_of, tokens, tmp_path):
    learner = shaken(adapted(moe, recipe_of))
    wanted = logits(learner.model, tokens)
    learner.model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(load_adapter(base_of(moe), tmp_path), tokens), wanted)
    other = adapted(moe, recipe_of)
    load_weights(other.model, tmp_path)
    torch.testing.assert_close(logits(other.model, tokens), wanted)


def test_only_the_named_layers_are_adapted(moe, recipe_of):
    learner = adapted(moe, recipe_of, lora_targets=["q_proj", "down_proj"], projector=False)
    layers = {name.split(".lora_")[0] for name in learner.parameter_parts}
    assert any(name.endswith("q_proj") for name in layers) and any(".experts" in name for name in layers)
    assert all("q_proj" in name or ".experts" in name for name in layers)
    assert learner.model.peft_config["default"].target_parameters == [
        f"model.language_model.layers.{layer}.mlp.experts.down_proj" for layer in range(2)
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_dropout": 0.1}, "lora_dropout: 0.1 cannot be had on the experts' weights"),
        ({"lora_variant": "dora", "lora_dropout": 0}, "lora_variant: dora cannot be had on the experts' weights"),
        ({"quantization": "int8", "lora_dropout": 0}, "int8 would leave .*% of the decoder's weights in 16 bit"),
    ],
)
def test_what_cannot_be_is_refused(moe, recipe_of, changes, message):
    with pytest.raises(UserError, match=message):
        build_learner(empty_model(str(moe)), recipe_of(model=str(moe), **changes))


def test_a_larger_share_on_purpose(moe, recipe_of):
    changes = {"quantization": "int8", "max_unquantized": 1, "lora_targets": ["q_proj"]}
    learner = build_learner(empty_model(str(moe)), recipe_of(model=str(moe), **changes))
    assert 0 < learner.quantised < 0.5


def test_plan_shows_the_share(moe, recipe_of, tmp_path, capsys):
    groups = dry_run(recipe_of(model=str(moe), lora_dropout=0, max_length=256), tmp_path)
    empty = empty_model(str(moe))
    share = quantised_share(empty, find_parts(empty), "nf4")
    assert re.search(rf"decoder, quantised share .* {share:.1%}", capsys.readouterr().out)
    sizes = {(group.part, group.state): group.parameters for group in groups}
    assert sizes["decoder", "4-bit"] > sizes["decoder", "frozen"]
    assert module_groups(build_learner(base_of(moe), recipe_of(model=str(moe), lora_dropout=0))) == groups


@pytest.mark.parametrize(
    ("family", "router"), [("llama4", "feed_forward.router"), ("qwen3_5_moe", "mlp.shared_expert_gate")]
)
def test_routers_are_adapted_only_by_name(family, router):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(family))
    parts = find_parts(model)
    name = next(name for name, _ in model.named_modules() if name.endswith(router))
    assert not re.fullmatch(lora_targets(model, parts, "all-linear")[0], name)
    assert re.fullmatch(lora_targets(model, parts, [router.split(".")[1]])[0], name)
