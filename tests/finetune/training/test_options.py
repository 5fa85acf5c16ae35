"""What a recipe may ask of the Trainer: refused early by name, or it reaches the optimiser and the steps."""

from __future__ import annotations

import subprocess

import pandas as pd
import pytest
import torch

from finetune.training.options import check_options
from finetune.training.run import train
from tests.finetune.training.test_run import adapter_of, metrics_of
from tests.forks import python
from winnow.errors import UserError


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ({"per_device_train_batch_size": 2}, "the recipe's own key; set `batch_size`"),
        ({"output_dir": "x"}, "set `out`"),
        ({"label_smoothing_factor": 0.1}, "does not smooth labels"),
        ({"auto_find_batch_size": True}, "which rows share a step"),
        ({"eval_strategy": "steps"}, "measured by Winnow"),
        ({"max_grad_nrm": 1.0}, "no such argument; did you mean max_grad_norm"),
        ({"torch_compile_mode": 3, "adam_beta2": 0.9, "report_too": 1}, "did you mean"),
        ({"max_grad_norm": "high"}, "max_grad_norm: .*valid number.*not 'high'"),
    ],
)
def test_arguments_that_are_refused(recipe_of, trainer, sentence):
    with pytest.raises(UserError, match=sentence):
        check_options(recipe_of(trainer=trainer))


@pytest.mark.skipif(torch.cuda.is_available(), reason="they work on GPUs")
@pytest.mark.parametrize("attention", ["flash_attention_2", "flash_attention_3", "flex_attention"])
def test_attentions_without_a_backward_pass_on_cpus(recipe_of, attention):
    with pytest.raises(UserError, match=f"attention: {attention} trains on GPUs only"):
        check_options(recipe_of(attention=attention))


@pytest.mark.slow
def test_attention_is_the_one_asked_for(recipe_of):
    from finetune.training.run import load_learner

    for attention in ("eager", "sdpa"):
        model = load_learner(recipe_of(attention=attention)).model
        assert model.config.get_text_config()._attn_implementation == attention


_LIGER = """
import sys, torch
from pathlib import Path
from transformers import AutoConfig, AutoModelForImageTextToText
from finetune.training.options import check_liger
from tests.finetune.models import checkpoint
from winnow.errors import UserError
for family in ("llava_onevision", "llava_1_5"):
    with torch.device("meta"):
        folder = checkpoint(family, Path(sys.argv[1]) / family, weights=False)
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    try:
        check_liger(model)
        print(family, "forward is the model's own:", model.forward.__func__ is type(model).forward)
    except UserError as error:
        print(family, error)
"""


@pytest.mark.slow
def test_liger_replaces_parts_and_not_the_loss_or_is_refused(tmp_path):
    """Its kernels need a GPU; what it replaces shows without one. In a process of its own, as it changes modules."""
    pytest.importorskip("liger_kernel")
    command = python("-c", _LIGER, str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # A head that is called as a module can be given the trained positions alone.
    assert "llava_1_5 forward is the model's own: True" in done.stdout, done.stderr[-2000:]
    assert "liger-kernel has no kernels for llava_onevision models" in done.stdout


def _optimiser(recipe, tmp_path):
    """The optimiser that training would use, and the names of its parameters."""
    from finetune.data.collate import Collator
    from finetune.data.plan import input_digests, make_plan
    from finetune.data.rows import open_rows
    from finetune.model.adapter import set_trained
    from finetune.model.load import load_processor
    from finetune.training import stage as stages
    from finetune.training.losses import LossStore
    from finetune.training.run import load_learner
    from finetune.training.trainer import SampleLossTrainer
    from winnow.run import Stages

    rows, processor = open_rows(recipe), load_processor(recipe.model)
    inputs = input_digests(recipe, rows)
    (schedule,) = make_plan(recipe, rows, processor, stages=Stages(tmp_path), inputs=inputs).schedules
    (stage,), learner = recipe.resolved_stages(), load_learner(recipe)
    set_trained(learner, stage)
    trainer = SampleLossTrainer(
        learner=learner, stage=stage, losses=LossStore(tmp_path, 0, 0),
        args=stages._arguments(recipe, stage, schedule, tmp_path),
        data_collator=Collator(processor, rows.image_root), train_dataset=schedule,
    )  # fmt: skip
    return trainer.create_optimizer(), {id(p): name for name, p in learner.model.named_parameters()}


@pytest.mark.slow
def test_weight_decay_spares_norms_and_biases(recipe_of, tmp_path):
    optimiser, names = _optimiser(recipe_of(vision="full", trainer={"weight_decay": "3e-1"}), tmp_path)
    decay = {names[id(p)]: group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert set(decay.values()) == {0.0, 0.3}
    assert {name for name, value in decay.items() if not value} == {
        name for name in decay if name.endswith("bias") or "norm" in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("optim", ["paged_adamw_8bit", "adafactor"])
def test_optimisers_train_and_resume(recipe_of, optim, monkeypatch, tmp_path):
    from tests.finetune.training.test_run import Killed, assert_same_result, die_after

    options = {"optim": optim, "max_steps": 3, "save_steps": 1, "quantization": "none"}
    whole = train(recipe_of(out=tmp_path / "whole", **options))
    plain = train(recipe_of(out=tmp_path / "plain", **{**options, "optim": "adamw_torch_fused"}))
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            train(recipe_of(out=tmp_path / "again", **options))
    assert_same_result(whole, train(recipe_of(out=tmp_path / "again", **options)))
    ours, theirs = adapter_of(whole), adapter_of(plain)
    assert not any(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_trainer_arguments_reach_the_steps(recipe_of, tmp_path):
    """Clipping to next to nothing leaves the weights where they were; NEFTune's noise changes the losses."""
    plain = metrics_of(train(recipe_of(out=tmp_path / "plain", max_steps=2)))
    noisy = metrics_of(train(recipe_of(out=tmp_path / "noisy", max_steps=2, trainer={"neftune_noise_alpha": 50.0})))
    assert plain[0]["loss"] != noisy[0]["loss"]
    options = {"max_steps": 2, "optim": "sgd", "lora_dropout": 0.0, "learning_rate": 1.0}
    clipped = adapter_of(train(recipe_of(out=tmp_path / "clipped", trainer={"max_grad_norm": 1e-9}, **options)))
    free = adapter_of(train(recipe_of(out=tmp_path / "free", trainer={"max_grad_norm": 0.0}, **options)))
    moved = [max(float(w[name].abs().max()) for name in w if "lora_B" in name) for w in (clipped, free)]
    assert moved[0] < 1e-8 < 1e-3 < moved[1]


@pytest.mark.slow
def test_a_compiled_model_trains_alike(recipe_of, tmp_path):
    """The head that is given the trained positions alone is right in a compiled model, batch after batch."""
    options = {"compute_dtype": "float32", "quantization": "none", "lora_dropout": 0.0, "max_steps": 2}
    compiled = {"torch_compile": True, "torch_compile_backend": "eager"}  # inductor takes minutes
    plain = train(recipe_of(out=tmp_path / "plain", **options))
    ours = train(recipe_of(out=tmp_path / "compiled", trainer=compiled, **options))
    losses = [[line["loss"] for line in metrics_of(folder)] for folder in (plain, ours)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    tables = [pd.read_parquet(folder / "losses.parquet") for folder in (plain, ours)]
    pd.testing.assert_frame_equal(*tables, atol=1e-3)
    weights = [adapter_of(folder) for folder in (plain, ours)]
    assert weights[0].keys() == weights[1].keys()
