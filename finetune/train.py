"""A run from recipe to adapter: check, load, train stage by stage, save; resumes where it was killed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as RichTable

from curate.atomic import atomic_path, write_text
from curate.errors import UserError
from curate.manifest import is_current, write_manifest
from finetune.balance import balanced
from finetune.collate import Collator
from finetune.identity import claim, input_digests, is_ours
from finetune.join import Schedule, Table
from finetune.losses import LossStore, collect
from finetune.preflight import Preflight, check_rows
from finetune.recipe import ResolvedStage, TrainRecipe
from finetune.rows import Rows, matches, open_rows
from finetune.selfcheck import MaskCheck, check_masks, first_of_each_source

CHECKED_PER_SOURCE = 8


def train(recipe: TrainRecipe, *, fresh: bool = False) -> Path:
    """Run a recipe to its end and return the run folder; an up-to-date run returns at once.

    Args:
        fresh: delete an earlier run in the same folder first.

    Raises:
        UserError: bad recipe, data or model, or the folder holds another run.
    """
    console = Console(stderr=True, highlight=False)
    rows, folder = open_rows(recipe), recipe.folder
    resolved, inputs = recipe.model_dump(mode="json"), input_digests(recipe, rows)
    if fresh and folder.is_dir():
        shutil.rmtree(folder)
    if is_current(folder, recipe=resolved, inputs=inputs):
        console.print(f"{folder} is up to date; `--fresh` trains it anew")
        return folder
    resumed = is_ours(folder, resolved, inputs)
    clock = {"start": time.monotonic()}

    from finetune.model import load_processor

    processor = load_processor(recipe.model)
    checked = preflight(recipe, rows, processor, resume=resumed)
    schedules = [schedule_of(recipe, rows, checked.table, n, stage) for n, stage in enumerate(recipe.resolved_stages())]
    collator = Collator(processor, rows.image_root)
    masks = check_masks(collator, first_of_each_source(rows, schedules, CHECKED_PER_SOURCE))
    clock["check"] = time.monotonic()
    _print_data(console, recipe, checked, schedules, masks)
    model, groups = _build_model(recipe, console)
    claim(folder, resolved, inputs)
    clock["load"] = time.monotonic()
    for number, (stage, schedule) in enumerate(zip(recipe.resolved_stages(), schedules, strict=True)):
        _run_stage(recipe, number, stage, schedule, model, collator)
    clock["train"] = time.monotonic()
    _finish(recipe, rows, model, processor, inputs, checked, masks, groups, clock)
    _print_end(console, folder, clock)
    return folder


def preflight(recipe: TrainRecipe, rows: Rows, processor: Any, *, resume: bool) -> Preflight:
    """Check the rows, or take the result that an earlier start of the same run stored."""
    stored, rejects = recipe.folder / "rows.parquet", recipe.folder / "rejects.jsonl"
    if resume and stored.is_file():
        columns = [column.to_numpy() for column in pq.read_table(stored).columns]
        reasons = [json.loads(line)["reason"] for line in rejects.read_text(encoding="utf-8").splitlines()]
        return Preflight(Table(*columns), dict(Counter(reasons).most_common()))
    checked = check_rows(
        rows, processor, max_length=recipe.max_length, max_reject=recipe.max_reject,
        sample_answers=recipe.answers == "sampled", workers=recipe.num_workers, rejects=rejects,
    )  # fmt: skip
    table = checked.table
    with atomic_path(stored) as temporary:
        names = ("row", "group", "tokens", "image_tokens")
        pq.write_table(pa.table({name: getattr(table, name) for name in names}), temporary)
    return checked


def schedule_of(recipe: TrainRecipe, rows: Rows, table: Table, number: int, stage: ResolvedStage) -> Schedule:
    """The conversations of a stage, in training order.

    Raises:
        UserError: the stage's ``where`` leaves no rows.
    """
    if stage.where:
        table = table.select(np.array([matches(rows[int(row)], stage.where) for row in table.row], dtype=bool))
    if not len(table.row):
        raise UserError(f"stage {stage.name!r}: no row matches where: {stage.where}")
    if stage.balance_answers:
        table = table.select(balanced(rows, table.row, recipe.seed))
    schedule = Schedule(
        rows, table, seed=recipe.seed, stage=number, join_turns=stage.join_turns, batch_size=stage.batch_size,
        max_length=recipe.max_length, sample_answers=recipe.answers == "sampled",
    )  # fmt: skip
    per_step = stage.batch_size * stage.gradient_accumulation * int(os.environ.get("WORLD_SIZE", "1"))
    by_epochs = max(1, round(stage.epochs * schedule.per_epoch))
    schedule.length = stage.max_steps * per_step if stage.max_steps else by_epochs
    return schedule


def _build_model(recipe: TrainRecipe, console: Console) -> tuple[Any, list[Any]]:
    from transformers import set_seed

    from finetune.model import add_adapter, fastest_attention, load_base, module_groups
    from finetune.towers import find_parts

    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        attention=fastest_attention(recipe.max_length),
    )  # fmt: skip
    anatomy = find_parts(base)
    set_seed(recipe.seed)
    model = add_adapter(base, recipe)
    groups = module_groups(model, anatomy)
    table = RichTable("part", "state", "tensors", "parameters", title=f"{recipe.model}", title_justify="left")
    for group in groups:
        style = "bold green" if group.state in ("LoRA", "trained") else None
        table.add_row(group.part, group.state, f"{group.modules:,}", f"{group.parameters:,}", style=style)
    for column in table.columns[2:]:
        column.justify = "right"
    console.print(table)
    return model, groups


def _run_stage(
    recipe: TrainRecipe, number: int, stage: ResolvedStage, schedule: Schedule, model: Any, collator: Collator
) -> None:
    """Train one stage, from its last complete checkpoint if there is one; skip it if it is done."""
    from transformers import set_seed

    from finetune.model import load_adapter_weights, set_trained
    from finetune.monitor import Monitor
    from finetune.trainer import SampleLossTrainer, last_complete, read_metrics

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
    per_step = stage.batch_size * stage.gradient_accumulation * arguments.world_size
    monitor = Monitor(
        metrics, stage=number, label=stage.name, steps=arguments.max_steps,
        per_epoch=schedule.per_epoch / per_step, before=kept[-1]["seconds"] if kept else 0.0,
    )  # fmt: skip
    trainer = SampleLossTrainer(
        stage=stage, losses=losses, model=model, args=arguments, train_dataset=schedule, data_collator=collator,
        callbacks=[monitor],
    )  # fmt: skip
    monitor.trainer = trainer
    trainer.remove_callback(_printer())
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        monitor.close()
    losses.flush(trainer.state.global_step)
    partial = folder / "done.partial"
    model.save_pretrained(partial, save_embedding_layers=False)
    partial.rename(done)


def _printer() -> Any:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


def _arguments(recipe: TrainRecipe, stage: ResolvedStage, schedule: Schedule, folder: Path) -> Any:
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    per_step = stage.batch_size * stage.gradient_accumulation * int(os.environ.get("WORLD_SIZE", "1"))
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=-(-len(schedule) // per_step),
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


def _finish(
    recipe: TrainRecipe, rows: Rows, model: Any, processor: Any, inputs: dict[str, str], checked: Preflight,
    masks: MaskCheck, groups: list[Any], clock: dict[str, float],
) -> None:  # fmt: skip
    """Write adapter, losses, curve and, last, the manifest; then drop the checkpoints."""
    from dataclasses import asdict

    from finetune.curve import draw_loss_curve
    from finetune.trainer import read_metrics

    folder = recipe.folder
    partial, adapter = folder / "adapter.partial", folder / "adapter"
    model.save_pretrained(partial, save_embedding_layers=False)
    processor.save_pretrained(partial)
    shutil.rmtree(adapter, ignore_errors=True)
    partial.rename(adapter)
    scored = collect(folder / "checkpoints" / "losses", rows, folder / "losses.parquet")
    metrics = read_metrics(folder / "metrics.jsonl")
    stages = [stage.name for stage in recipe.resolved_stages()]
    draw_loss_curve(metrics, stages, f"{recipe.name}: training loss", folder / "loss_curve.png")
    outputs = [path for path in adapter.rglob("*") if path.is_file()]
    outputs += [folder / name for name in ("losses.parquet", "metrics.jsonl", "loss_curve.png", "rejects.jsonl")]
    clock["save"] = time.monotonic()
    moments = list(clock.items())
    write_manifest(
        folder,
        stage="finetune",
        recipe=recipe.model_dump(mode="json"),
        inputs=inputs,
        outputs=outputs,
        counts={
            "rows": len(rows),
            "accepted": len(checked.table.row),
            "rejected": checked.rejected,
            "losses": scored,
            "steps": metrics[-1]["step"] if metrics else 0,
        },
        seconds={name: moment - before for (_, before), (name, moment) in itertools.pairwise(moments)},
        seeds={"seed": recipe.seed},
        extra={
            "model": recipe.model,
            "quantization": recipe.quantization,
            "compute_dtype": recipe.compute_dtype,
            "image_root": str(rows.image_root),
            "masks": asdict(masks),
            "modules": [asdict(group) for group in groups],
        },
    )
    shutil.rmtree(folder / "checkpoints")


def _print_data(
    console: Console, recipe: TrainRecipe, checked: Preflight, schedules: list[Schedule], masks: MaskCheck
) -> None:
    rejected = sum(checked.rejected.values())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in checked.rejected.items())
    console.print(
        f"data: {len(checked.table.row):,} rows accepted, {rejected:,} rejected" + (f" ({reasons})" if reasons else "")
    )
    share = masks.trained / max(masks.tokens, 1)
    console.print(f"masks: {masks.conversations} conversations checked, {share:.1%} of their tokens are trained")
    if not masks.stops:
        console.print(
            "[yellow]warning:[/] the chat template ends no answer with a stop token: the model will not learn to stop"
        )
    for stage, schedule in zip(recipe.resolved_stages(), schedules, strict=True):
        console.print(
            f"{stage.name}: {len(schedule.members):,} rows in {schedule.per_epoch:,} conversations, "
            f"{len(schedule) / schedule.per_epoch:.2f} epochs, trains {' + '.join(stage.train)}"
        )


def _print_end(console: Console, folder: Path, clock: dict[str, float]) -> None:
    minutes = (clock["train"] - clock["load"]) / 60
    console.print(f"trained in {minutes:.1f} min: {folder}/adapter, losses.parquet, metrics.jsonl, loss_curve.png")
    console.print(f"next: evalsuite run on {folder}/adapter, or `finetune merge {folder} --out DIR`")
