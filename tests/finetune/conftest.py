"""Fixtures: the tiny model, the toy data, recipes for them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from tests import forks
from tests.finetune.toys import build_processor, llava_config, save_data, save_model


@pytest.fixture(autouse=True)
def _reload_in_a_fork(monkeypatch):
    """A merged model is reloaded in a process of its own; a test of ``test_merge`` has it in a new interpreter."""
    monkeypatch.setattr("finetune.export.outputs.subprocess", SimpleNamespace(run=forks.run))


@pytest.fixture(scope="session")
def processor():
    return build_processor()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a random LLaVA with 2 + 2 layers."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def deep_model(tmp_path_factory) -> Path:
    """The same with three blocks in the tower, of which the projector reads the second, as in LLaVA."""
    import torch
    from transformers import LlavaForConditionalGeneration

    folder = tmp_path_factory.mktemp("deep")
    made = build_processor()
    config = llava_config(made.tokenizer)
    config.vision_config.num_hidden_layers, config.vision_feature_layer = 3, -2
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).bfloat16().save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """JSONL of 36 questions about 12 squares and 6 captions, images beside it."""
    return save_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def recipe_of(tiny_model, toy_data, tmp_path):
    """Make a recipe for the toys; keyword arguments override."""
    from finetune.recipe import TrainRecipe

    def make(**changes):
        values = {
            "name": "toy", "out": tmp_path / "run", "model": str(tiny_model), "data": toy_data, "lora_rank": 4,
            "lora_dropout": 0.1, "learning_rate": 5e-3, "batch_size": 2, "questions_per_image": 2, "max_steps": 4,
            "num_workers": 0, "save_steps": 2, "max_length": 128,
        }  # fmt: skip
        return TrainRecipe.model_validate({**values, **changes})

    return make
