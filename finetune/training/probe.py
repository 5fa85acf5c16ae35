"""Runs the longest batch before the first step: if memory runs out, it does so at once and not after hours."""

from __future__ import annotations

import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from finetune.data.image_costs import IMAGE_COSTS, image_cost_table, read_image_costs
from finetune.data.schedule import Schedule
from finetune.processes import device, start_processes
from finetune.recipe import TrainRecipe
from finetune.training.losses import LossTally
from finetune.training.memory import optimizer_bytes
from winnow.errors import UserError
from winnow.files import write_json

if TYPE_CHECKING:
    from finetune.training.trainer import SampleLossTrainer


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """Memory of the longest batch, in bytes.

    Attributes:
        tokens: tokens of that batch, padding included.
        before, measured: in use before it, and at most during its forward and backward pass (on CPUs: resident set).
        optimizer: of the optimiser's states, which the first step creates.
        total: memory of the device.
    """

    tokens: int
    before: int
    measured: int
    optimizer: int
    total: int

    @property
    def peak(self) -> int:
        """At most in use in training."""
        return self.measured + self.optimizer

    def at(self, tokens: float) -> float:
        """Expected peak for another number of tokens, as activations grow linearly with tokens."""
        return self.before + self.optimizer + (self.measured - self.before) * tokens / self.tokens


def longest_batch(schedule: Schedule, batch_size: int, collate: Any) -> Any:
    """The batch with the ``batch_size`` longest conversations of a stage."""
    longest = np.argsort(-schedule.size_of[schedule.used], kind="stable")[:batch_size]
    return collate([schedule.conversation(int(schedule.used[place])) for place in longest])


def memory_probe(trainer: SampleLossTrainer, recipe: TrainRecipe, schedule: Schedule) -> None:
    """Run the longest batch without an optimiser step; print its memory and add estimates to the image costs.

    Raises:
        UserError: the batch does not fit into memory; the message says what to change.
    """
    import torch

    stage, state, model = trainer.stage, start_processes(), trainer.learner.model
    batch = longest_batch(schedule, stage.batch_size, trainer.data_collator)
    tokens = batch["input_ids"].numel()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    losses, trainer.losses, tokens_seen = trainer.losses, LossTally(), trainer.tokens_seen
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = _allocated(reset=True)
    try:
        if stage.gradient_accumulation > 1:  # all batches but the first of a step find gradients in memory
            for parameter in trained:
                parameter.grad = torch.zeros_like(parameter)
        model.train()
        with trainer.accelerator.autocast():
            loss = trainer.compute_loss(model, trainer._prepare_inputs(batch))
        loss.backward()
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the longest batch ({tokens:,} tokens) does not fit into memory: {_advice(recipe, stage.batch_size)}"
        ) from error
    finally:
        trainer.losses, trainer.tokens_seen = losses, tokens_seen
        model.zero_grad(set_to_none=True)
    optimizer = sum(parameter.numel() for parameter in trained) * optimizer_bytes(str(trainer.args.optim))
    memory = BatchMemory(tokens, before, _allocated(), round(optimizer), _total())
    del batch, loss
    gc.collect()
    if state.is_main_process:
        _report(recipe, memory, stage.batch_size)


def _report(recipe: TrainRecipe, memory: BatchMemory, batch_size: int) -> None:
    console = Console(stderr=True, highlight=False)
    path = recipe.folder / IMAGE_COSTS
    costs = read_image_costs(path)
    for line in costs:
        line["memory"] = round(memory.at(line["longest"] * batch_size * recipe.sides))
    write_json(path, costs)
    console.print(image_cost_table(costs, batch_size * recipe.sides))
    measured, optimizer, peak, total = (
        f"{size / 2**30:.1f}" for size in (memory.measured, memory.optimizer, memory.peak, memory.total)
    )
    console.print(
        f"longest batch: {memory.tokens:,} tokens, {peak} of {total} GiB "
        f"({measured} measured without the optimiser, which adds {optimizer})"
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
    """Peak bytes in use; with ``reset``, the bytes in use now, and the peak starts again from there."""
    import torch

    kind = device().type
    if kind == "mps":  # keeps no peak; freed blocks stay allocated from the driver
        return torch.mps.current_allocated_memory() if reset else torch.mps.driver_allocated_memory()
    if kind != "cpu":
        if reset:
            torch.accelerator.reset_peak_memory_stats()
            return torch.accelerator.memory_allocated()
        return torch.accelerator.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.is_file():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark to the current size
    return _field(status.read_text(), "VmRSS" if reset else "VmHWM")


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _total() -> int:
    """Bytes of memory that the device has."""
    import torch

    kind = device().type
    if kind == "mps":
        return torch.mps.recommended_max_memory()
    if kind != "cpu":
        return torch.accelerator.get_memory_info()[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
