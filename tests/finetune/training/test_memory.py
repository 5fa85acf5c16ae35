"""The longest batch is tried first; if it does not fit, the message says what to change."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from finetune.training.memory import optimizer_bytes
from finetune.training.run import train
from tests.finetune.toys import build_processor, llava_config
from winnow.errors import UserError


def test_memory_that_runs_out_names_the_way_out(recipe_of, monkeypatch):
    import torch

    from finetune.training.trainer import SampleLossTrainer

    def too_much(*_, **__):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(SampleLossTrainer, "compute_loss", too_much)
    with pytest.raises(
        UserError, match=r"longest batch \([\d,]+ tokens\) does not fit .*batch_size: 1 and gradient_acc"
    ):
        train(recipe_of())


# A process inherits the peak of the one that starts it, so a small one stands between: pytest's may be large.
_PEAK = """
import os, subprocess, sys
_, status, usage = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
def test_the_probe_gives_what_the_run_uses(recipe_of, tmp_path):
    """The optimiser's states are most of what full training adds; saving adds nothing."""
    from transformers import LlavaForConditionalGeneration

    processor = build_processor()
    config = llava_config(processor.tokenizer)
    wide = {"hidden_size": 1536, "intermediate_size": 4096, "head_dim": 384, "num_hidden_layers": 2}
    for key, value in wide.items():
        setattr(config.text_config, key, value)
    LlavaForConditionalGeneration(config).bfloat16().save_pretrained(tmp_path / "wide")
    processor.save_pretrained(tmp_path / "wide")
    recipe = recipe_of(
        model=str(tmp_path / "wide"), quantization="none", decoder="full", batch_size=1, max_steps=2, save_steps=100
    )
    path = tmp_path / "wide.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    command = [sys.executable, "-c", _PEAK, sys.executable, "-m", "finetune", "train", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = " ".join(done.stderr.split())
    assert done.returncode == 0, words[-2000:]
    found = re.search(r"longest batch: [\d,]+ tokens, ([\d.]+) of .* GiB \(([\d.]+) measured .* adds ([\d.]+)\)", words)
    peak, measured, added = map(float, found.groups())
    used = int(done.stdout.splitlines()[-1]) / 2**20
    assert measured < 0.85 * used and added >= 0.4  # the test can tell: without the optimiser the figure is wrong
    assert peak == pytest.approx(used, rel=0.15)


def test_optimisers():
    assert optimizer_bytes("adamw_torch_fused") == 8.0
    assert optimizer_bytes("adamw_bnb_8bit") == pytest.approx(2.03, abs=0.01)
    assert optimizer_bytes("paged_adamw_32bit") == optimizer_bytes("sgd") == 0.0
    assert optimizer_bytes("lion_8bit") == pytest.approx(1.02, abs=0.01)
