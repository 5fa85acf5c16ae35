"""A run from recipe to adapter: check, load, train stage by stage, save; resumes where it was killed."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.errors import UserError
from curate.libraries import prepare_libraries
from curate.manifest import is_current, package_versions, write_manifest
from finetune.adapter import Learner, build_learner
from finetune.card import write_card
from finetune.collate import Collator
from finetune.evaluation import EVALUATIONS, evaluation_sets, read_evaluations
from finetune.identity import IDENTITY, claim, input_digests, is_ours
from finetune.losses import by_source, collect, read_parts
from finetune.metrics import read_metrics
from finetune.modules import Group, as_table, module_groups
from finetune.plan import Plan, checked_plan, print_plan
from finetune.processes import sharded, start_processes, world_size
from finetune.prompts import PROMPTS, store_prompts
from finetune.recipe import TrainRecipe
from finetune.report import write_report
from finetune.rows import open_rows
from finetune.stage import done_folder, is_done, run_stage


def train(recipe: TrainRecipe, *, fresh: bool = False) -> Path:
    """Run a recipe to its end and return the run folder; an up-to-date run returns at once.

    Under ``torchrun`` or ``accelerate launch`` every process runs this; the first one writes.

    Args:
        fresh: delete an earlier run in the same folder first.

    Raises:
        UserError: bad recipe, data or model, or the folder holds another run.
    """
    clock = {"start": time.monotonic()}
    rows, folder = open_rows(recipe), recipe.folder  # a wrong path is named before any library loads

    from finetune.model import load_processor

    prepare_libraries()  # before anything imports bitsandbytes
    state = start_processes()
    console = Console(stderr=True, highlight=False, quiet=not state.is_main_process)
    resolved, inputs = recipe.model_dump(mode="json"), input_digests(recipe, rows)
    with state.main_process_first():
        if fresh and state.is_main_process:
            _remove_run(folder)
        current = is_current(folder, recipe=resolved, inputs=inputs)
        resumed = not current and is_ours(folder, resolved, inputs)
    if current:
        console.print(f"{folder} is up to date; `--fresh` trains it anew")
        return folder

    if recipe.report_to:
        from finetune.monitor import check_reporters

        check_reporters(recipe.report_to)
    processor = load_processor(recipe.model, recipe.chat_template, recipe.max_pixels)
    with state.main_process_first():
        plan = checked_plan(recipe, rows, processor, resume=resumed or not state.is_main_process)
        collator = Collator(processor, rows.image_root, recipe.max_pixels, always_image=world_size() > 1)
        evaluation = evaluation_sets(recipe, processor, collator, folder)
    clock["check"] = time.monotonic()
    print_plan(console, recipe, plan, inputs)
    learner = _load_learner(recipe)
    groups = module_groups(learner)
    console.print(as_table(recipe.model, groups))
    if state.is_main_process:
        claim(folder, resolved, inputs, packages=package_versions(), modules=[asdict(group) for group in groups])
        if not store_prompts(recipe, plan, processor, folder):
            console.print(
                "[yellow]warning:[/] the chat template asks for an answer with other tokens than stand before it in "
                "training (add_generation_prompt); answers at inference may suffer"
            )
    state.wait_for_everyone()
    clock["load"] = time.monotonic()
    for number, schedule in enumerate(plan.schedules):
        if number and sharded() and not is_done(recipe, number):
            learner = _load_learner(recipe, after=done_folder(recipe, number - 1))
        run_stage(recipe, number, schedule, learner, collator, evaluation)
    clock["train"] = time.monotonic()
    if state.is_main_process:
        _finish(recipe, plan, processor, inputs, groups, clock)
        _print_end(console, folder, clock)
    state.wait_for_everyone()
    return folder


def _remove_run(folder: Path) -> None:
    """Delete an earlier run, but no folder that is none."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / IDENTITY).is_file():
            raise UserError(f"{folder}: is no run folder of `finetune train`, so --fresh does not delete it")
        shutil.rmtree(folder)


def _load_learner(recipe: TrainRecipe, after: Path | None = None) -> Learner:
    """The base model, ready to train; with the weights that a former stage left in ``after``.

    A sharded model cannot be wrapped a second time, so its stages load it anew.
    """
    from transformers import set_seed

    from finetune.adapter import load_weights
    from finetune.model import fastest_attention, load_base

    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        attention=fastest_attention(recipe.max_length),
    )  # fmt: skip
    set_seed(recipe.seed)
    learner = build_learner(base, recipe)
    if after is not None:
        load_weights(learner.model, after)
    return learner


def _save_adapter(recipe: TrainRecipe, processor: Any, plan: Plan, groups: list[Group]) -> Path:
    """The last stage's weights as the run's ``adapter/``; of ``decoder: full`` the whole model."""
    import torch
    from transformers import AutoModelForImageTextToText

    partial, adapter = recipe.folder / "adapter.partial", recipe.folder / "adapter"
    done = done_folder(recipe, len(plan.schedules) - 1)
    shutil.rmtree(partial, ignore_errors=True)
    if recipe.decoder == "full":
        dtype = getattr(torch, recipe.compute_dtype)
        AutoModelForImageTextToText.from_pretrained(done, dtype=dtype).save_pretrained(partial)
    else:
        partial.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(done / name, partial / name)
    processor.save_pretrained(partial)
    write_card(recipe, plan, groups, partial / "README.md")
    shutil.rmtree(adapter, ignore_errors=True)
    partial.rename(adapter)
    return adapter


def _finish(
    recipe: TrainRecipe, plan: Plan, processor: Any, inputs: dict[str, str], groups: list[Group],
    clock: dict[str, float],
) -> None:  # fmt: skip
    """Write adapter, losses, curves, report and, last, the manifest; then drop the checkpoints."""
    from finetune.curve import draw_loss_curve, draw_source_curves

    folder, rows = recipe.folder, plan.rows
    adapter = _save_adapter(recipe, processor, plan, groups)
    parts = read_parts(folder / "checkpoints" / "losses")
    scored = collect(parts, rows, folder / "losses.parquet")
    sources = by_source(parts, rows, folder / "source_losses.parquet")
    metrics = read_metrics(folder / "metrics.jsonl")
    stages = [stage.name for stage in recipe.resolved_stages()]
    draw_loss_curve(metrics, stages, f"{recipe.name}: training loss", folder / "loss_curve.png")
    draw_source_curves(sources, f"{recipe.name}: training loss by source", folder / "source_curves.png")
    evaluations = read_evaluations(folder / EVALUATIONS)
    write_report(recipe, plan, groups, metrics, evaluations)
    names = ["losses.parquet", "source_losses.parquet", "metrics.jsonl", "loss_curve.png", "source_curves.png",
             "rejects.jsonl", PROMPTS, "report.md", "report.html", *([EVALUATIONS] if evaluations else [])]  # fmt: skip
    outputs = [path for path in adapter.rglob("*") if path.is_file()] + [folder / name for name in names]
    clock["save"] = time.monotonic()
    write_manifest(
        folder,
        stage="finetune",
        recipe=recipe.model_dump(mode="json"),
        inputs=inputs,
        outputs=outputs,
        counts={
            "rows": len(rows),
            "accepted": len(plan.checked.table.row),
            "rejected": plan.checked.rejected,
            "losses": scored,
            "steps": metrics[-1]["step"] if metrics else 0,
        },
        seconds={name: moment - before for (_, before), (name, moment) in itertools.pairwise(clock.items())},
        seeds={"seed": recipe.seed},
        extra={
            "model": recipe.model,
            "quantization": recipe.quantization,
            "compute_dtype": recipe.compute_dtype,
            "image_root": str(rows.image_root),
            "processes": world_size(),
            "masks": asdict(plan.masks),
            "modules": [asdict(group) for group in groups],
            "evaluations": [asdict(entry) for entry in evaluations],
            "forecast": json.loads((folder / "forecast.json").read_text(encoding="utf-8")),
        },
    )
    shutil.rmtree(folder / "checkpoints")


def _print_end(console: Console, folder: Path, clock: dict[str, float]) -> None:
    minutes = (clock["train"] - clock["load"]) / 60
    console.print(f"trained in {minutes:.1f} min: {folder}/adapter, losses.parquet, report.html, loss_curve.png")
    console.print(f"next: evalsuite run on {folder}/adapter, or `finetune merge {folder} --out DIR`")
