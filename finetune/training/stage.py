"""Trains a stage of a run from its last complete checkpoint, or skips it if it is done."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from finetune.data.collate import Collator
from finetune.data.schedule import Schedule
from finetune.data.stage_rows import conversations_per_step
from finetune.model.adapter import Learner, load_weights, set_trained
from finetune.processes import sharded, start_processes
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.training.evaluation import EvaluationSet, evaluate_sets
from finetune.training.losses import LossStore
from winnow.files import write_text

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

    from finetune.training.memory import memory_probe
    from finetune.training.monitor import Monitor, read_metrics
    from finetune.training.trainer import SampleLossTrainer, last_complete

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
