"""A run from recipe to adapter: check, load, train stage by stage, save; resumes where it was killed."""

from __future__ import annotations

import itertools
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.errors import UserError
from curate.manifest import is_current, write_manifest
from finetune.adapter import add_adapter
from finetune.collate import Collator
from finetune.identity import IDENTITY, claim, input_digests, is_ours
from finetune.join import Schedule
from finetune.losses import collect
from finetune.metrics import read_metrics
from finetune.modules import Group, as_table, module_groups
from finetune.plan import preflight, schedule_of
from finetune.preflight import Preflight
from finetune.recipe import TrainRecipe
from finetune.rows import Rows, open_rows
from finetune.selfcheck import MaskCheck, check_masks, first_of_each_source
from finetune.stage import run_stage
from finetune.towers import find_parts

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
    if fresh:
        _remove_run(folder)
    if is_current(folder, recipe=resolved, inputs=inputs):
        console.print(f"{folder} is up to date; `--fresh` trains it anew")
        return folder
    resumed = is_ours(folder, resolved, inputs)
    clock = {"start": time.monotonic()}

    from finetune.model import load_processor

    processor = load_processor(recipe.model, recipe.chat_template)
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
        run_stage(recipe, number, stage, schedule, model, collator)
    clock["train"] = time.monotonic()
    _finish(recipe, rows, model, processor, inputs, checked, masks, groups, clock)
    _print_end(console, folder, clock)
    return folder


def _remove_run(folder: Path) -> None:
    """Delete an earlier run, but no folder that is none."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / IDENTITY).is_file():
            raise UserError(f"{folder}: is no run folder of `finetune train`, so --fresh does not delete it")
        shutil.rmtree(folder)


def _build_model(recipe: TrainRecipe, console: Console) -> tuple[Any, list[Group]]:
    from transformers import set_seed

    from finetune.model import fastest_attention, load_base

    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        attention=fastest_attention(recipe.max_length),
    )  # fmt: skip
    anatomy = find_parts(base)
    set_seed(recipe.seed)
    model = add_adapter(base, recipe)
    groups = module_groups(model, anatomy)
    console.print(as_table(recipe.model, groups))
    return model, groups


def _finish(
    recipe: TrainRecipe, rows: Rows, model: Any, processor: Any, inputs: dict[str, str], checked: Preflight,
    masks: MaskCheck, groups: list[Group], clock: dict[str, float],
) -> None:  # fmt: skip
    """Write adapter, losses, curve and, last, the manifest; then drop the checkpoints."""
    from finetune.curve import draw_loss_curve

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
