"""Merging gives the function that was trained."""

from __future__ import annotations

import json

import pytest
import torch

from curate.errors import UserError
from finetune.merge import compare, merge
from finetune.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model, toy_data):
    from finetune.recipe import TrainRecipe

    return train(
        TrainRecipe(
            name="m",
            out=tmp_path_factory.mktemp("merge") / "run",
            model=str(tiny_model),
            data=toy_data,
            lora_rank=8,
            learning_rate=2e-2,
            batch_size=4,
            max_steps=6,
            num_workers=0,
            max_length=128,
        )
    )


def test_merged_model_equals_the_trained_one(run, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    parity = merge(run, tmp_path / "merged", count=8)
    assert parity.passed and parity.error < 0.02
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert json.loads((tmp_path / "merged" / "merge.json").read_text())["passed"] is True
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert AutoProcessor.from_pretrained(tmp_path / "merged").chat_template


def test_merging_into_the_original_weights_would_be_worse(run, tmp_path):
    """The reason for dequantising: the adapter was trained on the rounded weights."""
    from peft import PeftModel

    from finetune.merge import _answer_logits, _batches
    from finetune.model import load_base, load_processor
    from finetune.recipe import TrainRecipe

    recipe = TrainRecipe.model_validate(json.loads((run / "manifest.json").read_text())["recipe"])
    batches = _batches(recipe, run, load_processor(str(run / "adapter")), 8)
    logits = {}
    for quantization in ("nf4", "none"):
        base = load_base(recipe.model, quantization=quantization, compute_dtype="bfloat16")
        model = PeftModel.from_pretrained(base, str(run / "adapter")).eval()
        logits[quantization] = [_answer_logits(model, batch) for batch in batches]
    assert compare(logits["nf4"], logits["none"]).error > merge(run, tmp_path / "merged", count=8).error


def test_compare():
    same = [torch.eye(3), torch.ones(2, 3)]
    assert compare(same, same).passed
    other = compare([torch.eye(4)], [torch.eye(4).flip(0)])
    assert (other.agreement, other.passed, other.tokens) == (0.0, False, 4)
    assert other.error == pytest.approx(2**0.5)


def test_refusals(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is not empty"):
        merge(run, tmp_path / "full", count=1)
    with pytest.raises(UserError, match="finetune train RECIPE"):
        merge(tmp_path, tmp_path / "new", count=1)
