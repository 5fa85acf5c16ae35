"""Which device trains, how many processes do, and whether they shard the model.

Tried on two CPU processes (gloo) with accelerate 1.15, torch 2.14 and deepspeed 0.19: DDP gives the losses and
weights of a single process (tested). ZeRO-2 and ZeRO-3 give the losses of DDP and whole adapters; they need deepspeed,
``DS_ACCELERATOR=cpu`` and ``use_cpu: true`` in the configuration, and their first start compiles a kernel for
minutes. FSDP2 cannot be tried without GPUs: accelerate turns it on for process groups of GPUs alone, takes MULTI_CPU
for gloo and trains with DDP instead.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.recipe import TrainRecipe
from winnow.errors import UserError, did_you_mean


def start_processes() -> Any:
    """accelerate's ``PartialState``; under torchrun or ``accelerate launch``, creating it connects the processes."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def launch(kind: str, processes: int | None, command: list[str]) -> None:
    """Replace this process by a launcher, which starts ``python -m`` ``command`` several times on this machine.

    Args:
        kind: ``ddp`` (torchrun), or name of a file in ``finetune/accelerate``.
        processes: how many; None: one for each GPU.

    Raises:
        UserError: there is no such file, DeepSpeed is not installed, or there are no GPUs.
    """
    import torch

    files = {path.stem: path for path in (Path(__file__).parent / "accelerate").glob("*.yaml")}
    if kind not in files:
        raise UserError(f"--launch {kind}: {did_you_mean(kind, sorted(files))}")
    if kind.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        raise UserError(f"--launch {kind}: needs DeepSpeed; pip install 'winnow-vlm[deepspeed]'")
    count = processes or torch.accelerator.device_count()
    if count == 0:
        raise UserError(f"--launch {kind}: there is no GPU here; `--launch ddp --processes 2` tries it without")
    ways = ["accelerate.commands.launch", "--config_file", str(files[kind]), "--num_processes", str(count)]
    if kind == "ddp":
        ways = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    os.execv(sys.executable, [sys.executable, "-m", *ways, "-m", *command])


def device() -> Any:
    """The ``torch.device`` of this process, as accelerate chooses it: CUDA or ROCm, MPS, XPU, NPU …, else the CPU."""
    return start_processes().device


def world_size() -> int:
    """Number of training processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> bool:
    """Whether accelerate is set to shard the model over the processes (FSDP or DeepSpeed)."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))


def use_one_device(arguments: Any) -> None:
    """Keep ``TrainingArguments`` of a run without a launcher to one GPU, and print how to use the others.

    Trainer would split every batch over all visible GPUs with DataParallel, which multiplies the batch size.
    """
    if arguments.n_gpu > 1:
        Console(stderr=True, highlight=False).print(
            f"[yellow]warning:[/] {arguments.n_gpu} GPUs are visible, this run uses one; to use all of them: "
            "finetune train RECIPE --launch ddp"
        )
        arguments._n_gpu = 1


def check_device(recipe: TrainRecipe) -> None:
    """Check that this machine's device computes what the recipe asks for; warn if it only emulates bfloat16.

    Raises:
        UserError: it does not.
    """
    from transformers.utils.import_utils import is_torch_bf16_gpu_available

    kind = device().type
    supported = kind == "cpu" or is_torch_bf16_gpu_available()
    if problem := dtype_problem(kind, recipe.compute_dtype, bfloat16=supported):
        raise UserError(problem)
    if recipe.quantization != "none" and (problem := quantization_problem(kind, recipe.quantization)):
        raise UserError(problem)
    if recipe.compute_dtype == "bfloat16" and (name := emulates_bfloat16()):
        better = "float32" if kind == "cpu" else "float16"
        Console(stderr=True, highlight=False).print(
            f"[yellow]warning:[/] {name} only emulates bfloat16, which is slow; set compute_dtype: {better}"
        )


def dtype_problem(kind: str, compute_dtype: str, *, bfloat16: bool) -> str | None:
    """Why a kind of device cannot train in ``compute_dtype``; None if it can.

    Args:
        kind: type of a ``torch.device``, e.g. ``cuda``.
        bfloat16: whether the device computes in bfloat16, emulated or not.
    """
    if compute_dtype == "float16" and kind == "cpu":
        return "compute_dtype: float16 does not train on the CPU; set bfloat16 or float32"
    if compute_dtype == "bfloat16" and not bfloat16:
        return f"compute_dtype: the device {kind} does not compute in bfloat16; set float16 or float32"
    return None


def quantization_problem(kind: str, quantization: str) -> str | None:
    """Why bitsandbytes cannot quantise on a kind of device; None if it can."""
    import bitsandbytes

    if kind in bitsandbytes.supported_torch_devices:
        return None
    known = ", ".join(sorted(bitsandbytes.supported_torch_devices))
    return f"quantization: {quantization} needs bitsandbytes, which has no {kind} (it has {known}); set none"


def emulates_bfloat16() -> str | None:
    """Name of the device if it computes bfloat16 in float32; else None.

    So do NVIDIA GPUs older than Ampere, and x86 CPUs without AVX512-BF16 or AMX.
    """
    import torch

    kind = device().type
    if kind == "cpu":
        known = torch.cpu.get_capabilities()
        has_it = known.get("avx512_bf16") or known.get("amx_bf16") or known.get("architecture") != "x86_64"
        return None if has_it else f"this CPU ({known.get('cpu_name', 'unknown')})"
    if kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return None
    return torch.cuda.get_device_name()
