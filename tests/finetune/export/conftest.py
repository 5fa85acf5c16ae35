"""A run whose model answers the toy questions, and the task that asks them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from finetune.recipe import TrainRecipe
from finetune.selftest.toy import save_model
from finetune.training.run import train


@pytest.fixture(scope="session")
def colours_task(toy_data, tmp_path_factory) -> Path:
    values = {
        "name": "toy_colours", "description": "the toys", "prompt": "{question}",
        "source": {"location": str(toy_data), "image_root": str(toy_data.parent)},
        "generation": {"max_new_tokens": 4},
        "extraction": {"kind": "choice", "choices": ["yes", "no", "red", "green", "blue", "black"]},
        "metrics": {"accuracy": {}},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("task") / "toy_colours.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def colours_run(toy_data, colours_task, tmp_path_factory) -> Path:
    """Folder of a finished run, whose model has a good part of the answers; the base lies beside it in ``model``."""
    folder = tmp_path_factory.mktemp("colours")
    return train(
        TrainRecipe(
            name="colours", out=folder / "run", model=str(save_model(folder / "model", embeddings=5.0)), data=toy_data,
            quantization="none", compute_dtype="float32", lora_rank=16, lora_dropout=0, learning_rate=5e-3,
            batch_size=8, max_steps=40, num_workers=0, max_length=128, save_steps=40,
            vision="full", questions_per_image=1, eval_tasks={str(colours_task): 30},
        )
    )  # fmt: skip
