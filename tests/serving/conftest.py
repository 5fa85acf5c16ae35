"""A tiny trained run with its merged model, and an evaluation task about its rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from tests import forks

os.environ.setdefault("HF_HUB_OFFLINE", "1")


class Trained(NamedTuple):
    run: Path
    merged: Path
    base: Path
    task: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    from finetune.export.merge import merge
    from finetune.recipe import TrainRecipe
    from finetune.selftest.toy import save_data, save_model
    from finetune.training.run import train

    root = tmp_path_factory.mktemp("trained")
    (root / "data").mkdir()
    # Larger embeddings: random ones are so small that the training changes no answer.
    base, data = save_model(root / "base", embeddings=8.0), save_data(root / "data")
    recipe = TrainRecipe(
        name="toy", out=root / "run", model=str(base), data=data, lora_rank=8, lora_dropout=0, learning_rate=5e-3,
        batch_size=4, questions_per_image=2, max_steps=20, num_workers=0, max_length=128, quantization="none",
        compute_dtype="float32",
    )  # fmt: skip
    run = train(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.export.outputs.subprocess", SimpleNamespace(run=forks.run))
        merge(run, root / "merged", into=None, count=4)
    task = root / "task.yaml"
    task.write_text(
        f"name: toy\nsource: {{location: {data}, image_root: {data.parent}}}\ngeneration: {{max_new_tokens: 4}}\n"
        "metrics: [accuracy]\n"
    )
    yield Trained(run, root / "merged", base, task)
