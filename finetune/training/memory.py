"""The longest batch first: memory runs out before training or not at all."""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from finetune.data.image_cost import image_cost_table, read_image_costs
from finetune.data.schedule import Schedule
from finetune.processes import start_processes
from finetune.recipe import TrainRecipe
from finetune.training.losses import LossTally
from winnow.errors import UserError
from winnow.files import write_json

if TYPE_CHECKING:
    from finetune.training.trainer import SampleLossTrainer


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """What a forward and backward of the longest batch took, in bytes.

    Attributes:
        tokens: tokens of that batch, padding included.
        before, peak: allocated before it and at most (CPU: resident set).
        total: what the device has.
    """

    tokens: int
    before: int
    peak: int
    total: int

    def at(self, tokens: float) -> float:
        """Expected peak for another number of tokens, in bytes: activations grow with tokens."""
        return self.before + (self.peak - self.before) * tokens / self.tokens


def memory_probe(trainer: SampleLossTrainer, recipe: TrainRecipe, schedule: Schedule) -> None:
    """Run the longest batch once without learning from it; print and save the forecast of memory.

    Raises:
        UserError: it does not fit, with what to change.
    """
    import torch

    stage, state, model = trainer.stage, start_processes(), trainer.learner.model
    longest = np.argsort(-schedule.size_of[schedule.used], kind="stable")[: stage.batch_size]
    collate: Any = trainer.data_collator
    batch = collate([schedule.conversation(int(schedule.used[place])) for place in longest])
    tokens = batch["input_ids"].numel()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    kept, trainer.losses, seen = trainer.losses, LossTally(), trainer.tokens_seen
    before = _allocated(reset=True)
    try:
        model.train()
        with trainer.accelerator.autocast():
            loss = trainer.compute_loss(model, trainer._prepare_inputs(batch))
        loss.backward()
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the longest batch ({tokens:,} tokens) does not fit into memory: {_advice(recipe, stage.batch_size)}"
        ) from error
    finally:
        trainer.losses, trainer.tokens_seen = kept, seen
        model.zero_grad(set_to_none=True)
    memory = BatchMemory(tokens, before, _allocated(), _total())
    del batch, loss
    gc.collect()
    if state.is_main_process:
        _report(recipe, memory, stage.batch_size)


def _report(recipe: TrainRecipe, memory: BatchMemory, batch_size: int) -> None:
    console = Console(stderr=True, highlight=False)
    path = recipe.folder / "forecast.json"
    forecast = read_image_costs(path)
    for line in forecast:
        line["memory"] = round(memory.at(line["longest"] * batch_size))
    write_json(path, forecast)
    console.print(image_cost_table(forecast, batch_size))
    console.print(
        f"longest batch: {memory.tokens:,} tokens, {memory.peak / 2**30:.1f} of {memory.total / 2**30:.1f} GiB"
    )
    if memory.peak > 0.9 * memory.total:
        console.print(f"[yellow]warning:[/] memory is nearly full; {_advice(recipe, batch_size)}")


def _advice(recipe: TrainRecipe, batch_size: int) -> str:
    if batch_size > 1:
        return f"set batch_size: {batch_size // 2} and gradient_accumulation: {recipe.gradient_accumulation * 2}"
    if not recipe.gradient_checkpointing:
        return "set gradient_checkpointing: true"
    return "lower max_pixels or max_length (`finetune plan` shows what they save)"


def _allocated(*, reset: bool = False) -> int:
    """Peak bytes in use; with ``reset`` the bytes now, from which the next peak counts."""
    import torch

    if torch.cuda.is_available():
        if reset:
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated()
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.is_file():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to the present size
    return _field(status.read_text(), "VmRSS" if reset else "VmHWM")


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _total() -> int:
    import os

    import torch

    if torch.cuda.is_available():
        total: Any = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        return int(total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
