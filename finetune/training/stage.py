"""Trains a stage of a run from its last complete checkpoint, or skips it if it is done."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.data.collate import Collator
from finetune.data.pairs import batch_collator
from finetune.data.schedule import Schedule, conversations_per_step
from finetune.model.adapter import Learner, load_weights, set_trained
from finetune.processes import device, sharded, start_processes, use_one_device
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.training.evaluation import (
    EVALUATIONS,
    Evaluation,
    Measured,
    best_step,
    evaluate,
    out_of_patience,
    read_evaluations,
    watched,
)
from finetune.training.losses import LossStore
from finetune.training.options import trainer_arguments
from finetune.training.packing import check_packing
from finetune.training.probe import memory_probe
from winnow.files import write_text

if TYPE_CHECKING:
    from finetune.training.trainer import SampleLossTrainer

_NOT_WEIGHTS = (
    "optimizer*", "scheduler*", "scaler*", "rng_state*", "train*", "complete.json", "global_step*", "latest",
)  # fmt: skip
LORA_PLUS_RATIO = 16.0  # the starting point that the LoRA+ paper recommends


def is_done(recipe: TrainRecipe, number: int) -> bool:
    """Whether an earlier start finished this stage."""
    return done_folder(recipe, number).is_dir()


def done_folder(recipe: TrainRecipe, number: int) -> Path:
    """Folder of a stage's final weights until the run is finished."""
    return recipe.folder / "checkpoints" / f"stage-{number}" / "done"


def run_stage(
    recipe: TrainRecipe, number: int, schedule: Schedule, learner: Learner, collator: Collator,
    evaluation: Evaluation,
) -> None:  # fmt: skip
    """Train a stage, from its last complete checkpoint if there is one; load its weights if it is done.

    Args:
        number: position of the stage in the recipe, from 0.
        learner: holds the weights of the stage before, and afterwards those of this stage.
        evaluation: what is measured before the first stage, between steps and after the stage.
    """
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback

    from finetune.training.dpo import PreferenceTrainer
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
    use_one_device(arguments)
    monitor = Monitor(
        metrics, stage=number, label=stage.name, steps=arguments.max_steps,
        per_epoch=schedule.per_epoch / conversations_per_step(stage), before=kept[-1]["seconds"] if kept else 0.0,
        eval_steps=recipe.eval_steps,
    )  # fmt: skip
    trainer_of = (
        functools.partial(PreferenceTrainer, options=recipe.dpo) if recipe.method == "dpo" else SampleLossTrainer
    )
    trainer: SampleLossTrainer = trainer_of(
        learner=learner, stage=stage, losses=losses, args=arguments,
        b_ratio=LORA_PLUS_RATIO if recipe.lora_variant == "lora+" else 1.0, train_dataset=schedule,
        data_collator=batch_collator(recipe, collator, schedule.rows), callbacks=[monitor], packing=recipe.packing,
    )  # fmt: skip
    monitor.trainer = trainer
    trainer.remove_callback(PrinterCallback)

    def measure(step: int) -> list[Measured]:
        return evaluate(trainer, recipe, evaluation, stage=number, step=step)

    trainer.watch = lambda step: watched(measure(step), recipe, number, step)
    if not sharded():
        if number == 0 and not checkpoint:
            evaluate(trainer, recipe, evaluation, stage=-1, step=0)
        if recipe.packing:
            check_packing(trainer, recipe, schedule)
        memory_probe(trainer, recipe, schedule)
    if isinstance(trainer, PreferenceTrainer):
        trainer.find_reference(schedule, folder)
    set_seed(recipe.seed + number)
    before = [line for line in read_evaluations(recipe.folder / EVALUATIONS) if line.step <= step]
    if not out_of_patience(before, recipe, number):  # as it may have been when the run was killed
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            monitor.close()
        step = trainer.state.global_step
    losses.flush(step)
    if not recipe.eval_steps:
        measure(step)
    state.wait_for_everyone()
    best = best_step(read_evaluations(recipe.folder / EVALUATIONS), recipe.best, number) if recipe.best else None
    _keep_weights(trainer, folder / f"checkpoint-{best}" if best not in (None, step) else None, folder)
    if best is not None and not sharded():
        load_weights(learner.model, done_folder(recipe, number))


def _keep_weights(trainer: SampleLossTrainer, checkpoint: Path | None, folder: Path) -> None:
    """Put the trainer's weights, or those of an earlier checkpoint, into the stage's ``done`` folder."""
    partial, state = folder / "done.partial", start_processes()
    if checkpoint is None:
        trainer.save_model(str(partial))
    elif state.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(checkpoint, partial, ignore=shutil.ignore_patterns(*_NOT_WEIGHTS))
    if state.is_main_process:
        shutil.rmtree(folder / "done", ignore_errors=True)
        partial.rename(folder / "done")
    state.wait_for_everyone()


def _arguments(recipe: TrainRecipe, stage: ResolvedStage, schedule: Schedule, folder: Path) -> Any:
    from transformers import TrainingArguments

    kind, steps = device().type, -(-len(schedule) // conversations_per_step(stage))
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(recipe.folder / "tensorboard" / stage.name.replace("/", "_"))
    own: dict[str, Any] = {
        "output_dir": str(folder),
        "run_name": f"{recipe.name}: {stage.name}",
        "max_steps": steps,
        "per_device_train_batch_size": stage.batch_size,
        "per_device_eval_batch_size": stage.batch_size,
        "gradient_accumulation_steps": stage.gradient_accumulation,
        "learning_rate": stage.rates["decoder"],
        "lr_scheduler_type": stage.scheduler,
        "warmup_steps": stage.warmup,
        "optim": recipe.optim,
        "weight_decay": 0.01,
        "seed": recipe.seed,
        "bf16": recipe.compute_dtype == "bfloat16",
        "fp16": recipe.compute_dtype == "float16",
        "use_cpu": kind == "cpu",
        "activation_checkpointing": recipe.gradient_checkpointing,
        "train_sampling_strategy": "sequential",  # the schedule shuffles
        "dataloader_num_workers": recipe.num_workers,
        "dataloader_pin_memory": kind not in ("cpu", "mps"),
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "logging_steps": max(1, min(10, steps // 50)),
        "logging_nan_inf_filter": False,
        "save_steps": recipe.save_steps,
        "save_total_limit": max(2, recipe.keep_checkpoints) + (recipe.best is not None),
        "disable_tqdm": True,
        "report_to": recipe.report_to,
    }
    return TrainingArguments(**{**own, **trainer_arguments(recipe.trainer)})
