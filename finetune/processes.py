"""One process or many: who is first, who writes, who waits.

What runs on two CPU processes (gloo), tried with accelerate 1.15, torch 2.14 and deepspeed 0.19: DDP, with losses and
weights of one process (a test). ZeRO-2 and ZeRO-3, with the same losses as DDP and whole adapters: install deepspeed
and set ``DS_ACCELERATOR=cpu`` and ``use_cpu: true`` in the configuration; its first start compiles a kernel for
minutes. FSDP2 does not: accelerate takes MULTI_CPU for its process group and trains with DDP instead.
"""

from __future__ import annotations

import os
from typing import Any


def start_processes() -> Any:
    """accelerate's ``PartialState``; under torchrun or ``accelerate launch`` this connects the processes."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def world_size() -> int:
    """Number of training processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> bool:
    """Whether accelerate was told to shard the model over processes (FSDP or DeepSpeed)."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))
