"""One device without a launcher; devices and dtypes that do not go together are refused by name."""

from __future__ import annotations

import pytest

from finetune.processes import dtype_problem, emulates_bfloat16, quantization_problem
from finetune.training import stage
from finetune.training.run import train
from winnow.errors import UserError


@pytest.mark.slow
def test_two_visible_gpus_train_like_one_and_the_launch_line_is_printed(recipe_of, tmp_path, monkeypatch, capsys):
    """Trainer would split batches over both, so that a step takes twice the rows and an epoch half the steps."""
    options = {"quantization": "none", "compute_dtype": "float32", "questions_per_image": 1, "max_steps": 2}
    one = train(recipe_of(out=tmp_path / "one", **options))
    own = stage._arguments

    def seeing_two(*given):
        arguments = own(*given)
        assert arguments.device.type == "cpu"
        arguments._n_gpu = 2
        return arguments

    monkeypatch.setattr(stage, "_arguments", seeing_two)
    capsys.readouterr()
    two = train(recipe_of(out=tmp_path / "two", **options))
    printed = " ".join(capsys.readouterr().err.split())
    assert "2 GPUs are visible, this run uses one" in printed
    assert "finetune train RECIPE --launch ddp" in printed
    for file in ("losses.parquet", "adapter/adapter_model.safetensors"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


def test_float16_on_the_cpu_is_refused_before_the_model_loads(recipe_of):
    recipe = recipe_of(compute_dtype="float16")
    with pytest.raises(UserError, match="float16 does not train on the CPU; set bfloat16 or float32"):
        train(recipe)
    assert not (recipe.folder / "adapter").exists()


@pytest.mark.parametrize(
    ("kind", "compute_dtype", "bfloat16", "refused"),
    [("cpu", "float16", True, "CPU"), ("cpu", "bfloat16", True, None), ("cuda", "float16", False, None),
     ("npu", "bfloat16", False, "npu"), ("mps", "float32", False, None)],
)  # fmt: skip
def test_dtypes_of_devices(kind, compute_dtype, bfloat16, refused):
    problem = dtype_problem(kind, compute_dtype, bfloat16=bfloat16)
    assert problem is None if refused is None else problem is not None and refused in problem


def test_a_device_that_bitsandbytes_lacks_is_named():
    assert quantization_problem("cpu", "nf4") is None
    problem = quantization_problem("mlu", "nf4")
    assert problem is not None and "has no mlu (it has cpu, cuda" in problem


@pytest.mark.parametrize(
    ("found", "emulated"),
    [({"architecture": "x86_64", "avx2": True, "cpu_name": "Old"}, "this CPU (Old)"),
     ({"architecture": "x86_64", "avx512_bf16": True}, None), ({"architecture": "x86_64", "amx_bf16": True}, None),
     ({"architecture": "aarch64"}, None)],
)  # fmt: skip
def test_a_cpu_that_only_emulates_bfloat16_is_told(found, emulated, monkeypatch):
    import torch

    assert {"architecture", "cpu_name"} <= torch.cpu.get_capabilities().keys()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert emulates_bfloat16() == emulated
