"""Trains a stage of a run from its last complete checkpoint, or skips it if it is done.

Before the first step it runs the longest batch: if memory runs out, it does so at once and not after hours.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from finetune.data.collate import Collator
from finetune.data.preflight import IMAGE_COSTS, image_cost_table, read_image_costs
from finetune.data.schedule import Schedule, conversations_per_step
from finetune.model.adapter import Learner, load_weights, set_trained
from finetune.processes import sharded, start_processes
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.training.evaluation import EvaluationSet, evaluate_sets
from finetune.training.losses import LossStore, LossTally
from winnow.errors import UserError
from winnow.files import write_json, write_text

if TYPE_CHECKING:
    from finetune.training.trainer import SampleLossTrainer
LORA_PLUS_RATIO = 16.0  # the starting point that the LoRA+ paper recommends


def is_done(recipe: TrainRecipe, number: int) -> bool:
    """Whether an earlier start finished this stage."""
    return done_folder(recipe, number).is_dir()


def done_folder(recipe: TrainRecipe, number: int) -> Path:
    """Folder of a stage's final weights until the run is finished."""
    return recipe.folder / "checkpoints" / f"stage-{number}" / "done"


def run_stage(
    recipe: TrainRecipe, number: int, schedule: Schedule, learner: Learner, collator: Collator,
    evaluation: list[EvaluationSet],
) -> None:  # fmt: skip
    """Train a stage, from its last complete checkpoint if there is one; load its weights if it is done.

    Args:
        number: position of the stage in the recipe, from 0.
        learner: holds the weights of the stage before, and afterwards those of this stage.
        evaluation: sets that are measured after the stage, and before the first one.
    """
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback

    from finetune.training.trainer import Monitor, SampleLossTrainer, last_complete, read_metrics

    stage = recipe.resolved_stages()[number]
    folder, state = recipe.folder / "checkpoints" / f"stage-{number}", start_processes()
    if is_done(recipe, number):
        load_weights(learner.model, done_folder(recipe, number))
        return
    checkpoint = last_complete(folder)
    step = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    metrics = recipe.folder / "metrics.jsonl"
    kept = [line for line in read_metrics(metrics) if line["stage"] < number or
            (line["stage"] == number and line["step"] <= step)]  # fmt: skip
    losses = LossStore(recipe.folder / "checkpoints" / "losses", number, state.process_index)
    if state.is_main_process:
        write_text(metrics, "".join(json.dumps(line) + "\n" for line in kept))
        losses.forget_after(step)
    state.wait_for_everyone()
    set_trained(learner, stage)
    arguments = _arguments(recipe, stage, schedule, folder)
    monitor = Monitor(
        metrics, stage=number, label=stage.name, steps=arguments.max_steps,
        per_epoch=schedule.per_epoch / conversations_per_step(stage), before=kept[-1]["seconds"] if kept else 0.0,
    )  # fmt: skip
    trainer = SampleLossTrainer(
        learner=learner, stage=stage, losses=losses, args=arguments,
        b_ratio=LORA_PLUS_RATIO if recipe.lora_variant == "lora+" else 1.0,
        train_dataset=schedule, data_collator=collator, callbacks=[monitor],
    )  # fmt: skip
    monitor.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    if not sharded():
        if number == 0 and not checkpoint:
            evaluate_sets(trainer, recipe, evaluation, -1)
        memory_probe(trainer, recipe, schedule)
    set_seed(recipe.seed + number)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        monitor.close()
    losses.flush(trainer.state.global_step)
    evaluate_sets(trainer, recipe, evaluation, number)
    partial = folder / "done.partial"
    trainer.save_model(str(partial))
    if state.is_main_process:
        shutil.rmtree(done_folder(recipe, number), ignore_errors=True)
        partial.rename(done_folder(recipe, number))
    state.wait_for_everyone()


def _arguments(recipe: TrainRecipe, stage: ResolvedStage, schedule: Schedule, folder: Path) -> Any:
    import torch
    from transformers import TrainingArguments

    on_gpu, steps = torch.cuda.is_available(), -(-len(schedule) // conversations_per_step(stage))
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(recipe.folder / "tensorboard" / stage.name.replace("/", "_"))
    return TrainingArguments(
        output_dir=str(folder),
        run_name=f"{recipe.name}: {stage.name}",
        max_steps=steps,
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=stage.batch_size,
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.rates["decoder"],
        lr_scheduler_type=stage.scheduler,
        warmup_steps=stage.warmup,
        seed=recipe.seed,
        bf16=recipe.compute_dtype == "bfloat16",
        fp16=recipe.compute_dtype == "float16",
        use_cpu=not on_gpu,
        activation_checkpointing=recipe.gradient_checkpointing,
        train_sampling_strategy="sequential",  # the schedule shuffles
        dataloader_num_workers=recipe.num_workers,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=max(1, min(10, steps // 50)),
        logging_nan_inf_filter=False,
        save_steps=recipe.save_steps,
        save_total_limit=2,
        disable_tqdm=True,
        report_to=recipe.report_to,
    )


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """Memory for the forward and backward pass of the longest batch, in bytes.

    Attributes:
        tokens: tokens of that batch, padding included.
        before, peak: allocated before it, and at most during it (on CPUs: resident set).
        total: memory of the device.
    """

    tokens: int
    before: int
    peak: int
    total: int

    def at(self, tokens: float) -> float:
        """Expected peak in bytes for another number of tokens, as activations grow linearly with tokens."""
        return self.before + (self.peak - self.before) * tokens / self.tokens


def memory_probe(trainer: SampleLossTrainer, recipe: TrainRecipe, schedule: Schedule) -> None:
    """Run the longest batch without an optimiser step; print its memory and add estimates to the image costs.

    Raises:
        UserError: the batch does not fit into memory; the message says what to change.
    """
    import torch

    stage, state, model = trainer.stage, start_processes(), trainer.learner.model
    longest = np.argsort(-schedule.size_of[schedule.used], kind="stable")[: stage.batch_size]
    collate: Any = trainer.data_collator
    batch = collate([schedule.conversation(int(schedule.used[place])) for place in longest])
    tokens = batch["input_ids"].numel()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    losses, trainer.losses, tokens_seen = trainer.losses, LossTally(), trainer.tokens_seen
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
        trainer.losses, trainer.tokens_seen = losses, tokens_seen
        model.zero_grad(set_to_none=True)
    memory = BatchMemory(tokens, before, _allocated(), _total())
    del batch, loss
    gc.collect()
    if state.is_main_process:
        _report(recipe, memory, stage.batch_size)


def _report(recipe: TrainRecipe, memory: BatchMemory, batch_size: int) -> None:
    console = Console(stderr=True, highlight=False)
    path = recipe.folder / IMAGE_COSTS
    costs = read_image_costs(path)
    for line in costs:
        line["memory"] = round(memory.at(line["longest"] * batch_size))
    write_json(path, costs)
    console.print(image_cost_table(costs, batch_size))
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
    """Peak bytes in use; with ``reset``, the bytes in use now, and the peak starts again from there."""
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
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark to the current size
    return _field(status.read_text(), "VmRSS" if reset else "VmHWM")


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _total() -> int:
    """Bytes of memory that the device has."""
    import torch

    if torch.cuda.is_available():
        total: Any = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        return int(total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
