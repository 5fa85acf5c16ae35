"""Packing gives every answer the loss that it has alone, with plain and with 3-D positions, or it is refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from finetune.training.run import train
from tests.finetune.models import checkpoint
from tests.finetune.training.test_run import adapter_of
from winnow.errors import UserError

pytestmark = pytest.mark.slow  # they train
EXACT = {"compute_dtype": "float32", "quantization": "none", "lora_dropout": 0.0, "max_length": 512}


@pytest.fixture
def mixed_data(toy_data):
    """The toys, a third of them without their image, so that rows of a batch differ in length and kind."""
    rows = [json.loads(line) for line in toy_data.read_text().splitlines()]
    for row in rows[::3]:
        row.pop("image")
        row["conversations"][0]["value"] = row["conversations"][0]["value"].replace("<image>\n", "")
    path = toy_data.parent / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("family", "attention"), [("llava_1_5", "eager"), ("qwen2_5_vl", "sdpa")])
def test_losses_and_weights_are_those_of_padded_batches(recipe_of, mixed_data, tmp_path, family, attention):
    model = str(checkpoint(family, tmp_path / family, weights=True))
    options = {"model": model, "data": mixed_data, "attention": attention, "batch_size": 4, "max_steps": 3,
               "questions_per_image": 1, "learning_rate": 1e-3, **EXACT}  # fmt: skip
    runs = [train(recipe_of(out=tmp_path / name, packing=name == "packed", **options)) for name in ("padded", "packed")]
    padded, packed = (pd.read_parquet(run / "losses.parquet") for run in runs)
    pd.testing.assert_frame_equal(padded, packed, atol=1e-4)
    assert len(padded) == 12 and padded["loss"].nunique() > 6
    ours, theirs = (adapter_of(run) for run in runs)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=2e-4, rtol=0)


def test_a_model_whose_answers_would_see_each_other_is_refused(recipe_of, tmp_path, monkeypatch):
    """Without positions that start again, the rows of a batch are one long conversation."""
    from finetune.training import trainer

    rightly = trainer.packed

    def running_on(inputs, rope_index):
        row = rightly(inputs, rope_index)
        return {**row, "position_ids": torch.arange(row["input_ids"].shape[1])[None]}

    monkeypatch.setattr(trainer, "packed", running_on)
    with pytest.raises(UserError, match="packing: llava cannot be packed: losses of answers change by"):
        train(recipe_of(packing=True, **EXACT))
