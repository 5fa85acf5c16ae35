"""One process or many: who is first, who writes, who waits."""

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
