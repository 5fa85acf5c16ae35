"""Several processes: the same training as one process with the same global batch; text-only rows anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from finetune.data.collate import Collator
from finetune.training.run import train


def started(*options: str, recipe: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "finetune", "train", str(recipe), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_equal_one(recipe_of, toy_data, tmp_path):
    """DDP over gloo: two processes with batch 2 against one with batch 2 × accumulation 2.

    Text-only rows and an evaluation set included; both stop after the same rows.
    """
    options = {
        "lora_dropout": 0.0, "compute_dtype": "float32", "quantization": "none", "max_steps": 3, "save_steps": 2,
        "evaluate": {"held": str(toy_data)}, "learning_rate": 1e-3,
    }  # fmt: skip
    one = train(recipe_of(out=tmp_path / "one", gradient_accumulation=2, **options))
    recipe = recipe_of(out=tmp_path / "two", **options)
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    done = started("--launch", "ddp", "--processes", "2", recipe=path)
    assert done.returncode == 0, done.stderr[-3000:]
    two = recipe.folder
    left, right = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, two))
    assert left.keys() == right.keys()
    tables = [pd.read_parquet(run / "losses.parquet") for run in (one, two)]
    pd.testing.assert_frame_equal(*tables, atol=1e-4)  # gathered: every row of both processes, once
    lines = [pd.read_json(run / "metrics.jsonl", lines=True) for run in (one, two)]
    assert lines[0]["loss"].tolist() == pytest.approx(lines[1]["loss"].tolist(), abs=1e-4)
    assert lines[0]["grad_norm"].tolist() == pytest.approx(lines[1]["grad_norm"].tolist(), rel=1e-3)
    # Adam divides by the gradient's size, so rounding moves weights whose gradient is nearly zero.
    apart = sum(float((left[name] - right[name]).square().sum()) for name in left) ** 0.5
    assert apart < 0.01 * sum(float(weight.square().sum()) for weight in left.values()) ** 0.5
    figures = [pd.read_json(run / "evaluations.jsonl", lines=True) for run in (one, two)]
    assert figures[0]["rows"].tolist() == figures[1]["rows"].tolist() == [42, 42]
    assert figures[0]["loss"].tolist() == pytest.approx(figures[1]["loss"].tolist(), abs=1e-4)


def test_a_text_batch_gets_a_blank_image(processor, tiny_model, tmp_path):
    """One more row, no label: the vision tower runs, the loss is the same."""
    from finetune.data.collate import EXTRA_KEYS
    from finetune.model.load import load_base
    from tests.finetune.data.test_chat import conversation

    talks = [conversation(("red?", "yes")), conversation(("blue square?", "no"))]
    plain, filled = Collator(processor, tmp_path)(talks), Collator(processor, tmp_path, always_image=True)(talks)
    assert "pixel_values" not in plain and len(filled["input_ids"]) == 3 and "pixel_values" in filled
    assert (filled["labels"][-1] == -100).all() and filled["rows"].tolist() == plain["rows"].tolist()
    model = load_base(str(tiny_model), quantization="none", compute_dtype="float32").eval()

    def loss(batch):
        labels = batch["labels"][:, 1:]
        with torch.no_grad():
            logits = model(**{key: value for key, value in batch.items() if key not in EXTRA_KEYS}).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits[labels != -100], labels[labels != -100])

    torch.testing.assert_close(loss(plain), loss(filled))


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero2", "zero3"])
def test_accelerate_reads_the_shipped_files(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(f"finetune/accelerate/{name}.yaml")
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}
    assert config.distributed_type == kinds[name] and config.num_processes == 2
    if name.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])


def test_launches_that_cannot_be(monkeypatch):
    from finetune import processes
    from winnow.errors import UserError

    with pytest.raises(UserError, match="--launch zero1: did you mean zero"):
        processes.launch("zero1", None, [])
    if not torch.accelerator.is_available():
        with pytest.raises(UserError, match="--launch ddp: there is no GPU here"):
            processes.launch("ddp", None, [])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install 'winnow-vlm"):
        processes.launch("zero3", 2, [])
