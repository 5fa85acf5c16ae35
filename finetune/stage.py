"""One stage of a run: trained from its last complete checkpoint, or skipped because it is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from curate.atomic import write_text
from finetune.adapter import load_adapter_weights, set_trained
from finetune.collate import Collator
from finetune.join import Schedule
from finetune.losses import LossStore
from finetune.metrics import read_metrics
from finetune.plan import per_step
from finetune.recipe import ResolvedStage, TrainRecipe


def run_stage(
    recipe: TrainRecipe, number: int, stage: ResolvedStage, schedule: Schedule, model: Any, collator: Collator
) -> None:
    """Train one stage, from its last complete checkpoint if there is one; skip it if it is done."""
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback

    from finetune.monitor import Monitor
    from finetune.trainer import SampleLossTrainer, last_complete

    folder = recipe.folder / "checkpoints" / f"stage-{number}"
    done = folder / "done"
    if (done / "adapter_model.safetensors").is_file():
        load_adapter_weights(model, done)
        return
    checkpoint = last_complete(folder)
    step = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    metrics = recipe.folder / "metrics.jsonl"
    kept = [line for line in read_metrics(metrics) if line["stage"] < number or
            (line["stage"] == number and line["step"] <= step)]  # fmt: skip
    write_text(metrics, "".join(json.dumps(line) + "\n" for line in kept))
    losses = LossStore(recipe.folder / "checkpoints" / "losses", number, int(os.environ.get("RANK", "0")))
    losses.forget_after(step)
    set_trained(model, stage.train)
    set_seed(recipe.seed + number)
    arguments = _arguments(recipe, stage, schedule, folder)
    monitor = Monitor(
        metrics, stage=number, label=stage.name, steps=arguments.max_steps,
        per_epoch=schedule.per_epoch / per_step(stage), before=kept[-1]["seconds"] if kept else 0.0,
    )  # fmt: skip
    trainer = SampleLossTrainer(
        stage=stage, losses=losses, model=model, args=arguments, train_dataset=schedule, data_collator=collator,
        callbacks=[monitor],
    )  # fmt: skip
    monitor.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        monitor.close()
    losses.flush(trainer.state.global_step)
    partial = folder / "done.partial"
    model.save_pretrained(partial, save_embedding_layers=False)
    partial.rename(done)


def _arguments(recipe: TrainRecipe, stage: ResolvedStage, schedule: Schedule, folder: Path) -> Any:
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=-(-len(schedule) // per_step(stage)),
        per_device_train_batch_size=stage.batch_size,
        gradient_accumulation_steps=stage.gradient_accumulation,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.scheduler,
        warmup_steps=stage.warmup,
        weight_decay=recipe.weight_decay,
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
        logging_steps=recipe.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=recipe.save_steps,
        save_total_limit=2,
        disable_tqdm=True,
        report_to=[],
    )
