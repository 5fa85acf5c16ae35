"""How many processes train, and whether they shard the model.

Tried on two CPU processes (gloo) with accelerate 1.15, torch 2.14 and deepspeed 0.19: DDP gives the losses and
weights of a single process (tested). ZeRO-2 and ZeRO-3 give the losses of DDP and whole adapters; they need deepspeed,
``DS_ACCELERATOR=cpu`` and ``use_cpu: true`` in the configuration, and their first start compiles a kernel for
minutes. FSDP2 does not work: accelerate takes MULTI_CPU for its process group and trains with DDP instead.
"""

from __future__ import annotations

import os
from typing import Any


def start_processes() -> Any:
    """accelerate's ``PartialState``; under torchrun or ``accelerate launch``, creating it connects the processes."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def world_size() -> int:
    """Number of training processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> bool:
    """Whether accelerate is set to shard the model over the processes (FSDP or DeepSpeed)."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))
