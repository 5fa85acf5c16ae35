"""A training run: check the data, load the model, train stage by stage, save; a killed run resumes where it stopped."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.data.collate import Collator
from finetune.data.plan import TrainingPlan, input_digests, make_plan, print_plan
from finetune.data.preflight import IMAGE_COSTS, image_cost_table, read_image_costs
from finetune.data.rows import open_rows
from finetune.model.adapter import Learner, ModuleGroup, build_learner, load_weights, module_groups, module_table
from finetune.model.load import fastest_attention, load_base, load_processor
from finetune.processes import sharded, start_processes, world_size
from finetune.recipe import TrainRecipe
from finetune.report.report import draw_loss_curve, draw_source_curves, write_card, write_report
from finetune.training.evaluation import EVALUATIONS, evaluation_sets, read_evaluations
from finetune.training.losses import read_parts, write_sample_losses, write_source_losses
from finetune.training.prompts import PROMPTS, store_prompts
from finetune.training.stage import done_folder, is_done, run_stage
from winnow.errors import UserError
from winnow.models import check_model_name, empty_model, prepare_libraries
from winnow.run import MANIFEST, Stages, is_current, package_versions, write_manifest

START = "start"  # of a run folder's Stages: recipe, inputs, packages and modules of the run, set before the first step


def train(recipe: TrainRecipe, *, fresh: bool = False) -> Path:
    """Train a recipe and return the run folder; a run that is up to date returns at once.

    Under ``torchrun`` or ``accelerate launch`` every process calls this; the main process writes.

    Args:
        fresh: delete an earlier run in the same folder first.

    Raises:
        UserError: the recipe, data or model cannot be used, or the folder holds another run.
    """
    clock = {"start": time.monotonic()}
    check_model_name(recipe.model)
    rows, folder = open_rows(recipe), recipe.folder  # wrong paths are reported before any model library loads
    prepare_libraries()  # before anything imports bitsandbytes
    state = start_processes()
    console = Console(stderr=True, highlight=False, quiet=not state.is_main_process)
    resolved, inputs = recipe.model_dump(mode="json"), input_digests(recipe, rows)
    with state.main_process_first():
        if fresh and state.is_main_process:
            _remove_run(folder)
        current = is_current(folder, recipe=resolved, inputs=inputs)
        if not current:
            _refuse_other_run(folder, resolved, inputs)
    if current:
        console.print(f"{folder} is up to date; `--fresh` trains it again")
        return folder

    check_reporters(recipe.report_to)  # before hours of work
    processor = load_processor(recipe.model, recipe.chat_template, recipe.max_pixels)
    with state.main_process_first():
        stages = Stages(folder)
        plan = make_plan(recipe, rows, processor, stages=stages, inputs=inputs)
        collator = Collator(processor, rows.image_root, recipe.max_pixels, always_image=world_size() > 1)
        evaluation = evaluation_sets(recipe, processor, collator, folder)
    clock["check"] = time.monotonic()
    print_plan(console, recipe, plan, inputs)
    learner = load_learner(recipe)
    groups = module_groups(learner)
    console.print(module_table(recipe.model, groups))
    if state.is_main_process:
        modules = [asdict(group) for group in groups]
        stages.set(START, {"recipe": resolved, "inputs": inputs, "packages": package_versions(), "modules": modules})
        if not store_prompts(recipe, plan, processor, folder):
            console.print(
                "[yellow]warning:[/] with add_generation_prompt the chat template puts other tokens before an answer "
                "than in training; answers at inference may suffer"
            )
    state.wait_for_everyone()
    clock["load"] = time.monotonic()
    for number, schedule in enumerate(plan.schedules):
        if number and sharded() and not is_done(recipe, number):
            learner = load_learner(recipe, after=done_folder(recipe, number - 1))
        run_stage(recipe, number, schedule, learner, collator, evaluation)
    clock["train"] = time.monotonic()
    if state.is_main_process:
        save_run(recipe, plan, processor, inputs, groups, clock)
        minutes = (clock["train"] - clock["load"]) / 60
        console.print(f"trained in {minutes:.1f} min: {folder}/adapter, losses.parquet, report.html, loss_curve.png")
        console.print(f"next: evalsuite run on {folder}/adapter, or `finetune merge {folder} --out DIR`")
    state.wait_for_everyone()
    return folder


def dry_run(recipe: TrainRecipe, folder: Path) -> list[ModuleGroup]:
    """Check data and model without loading a weight and print what would be trained; returns the module groups.

    Args:
        folder: for the files that a run stores; nothing is written to the run folder.

    Raises:
        UserError: the recipe, data or model cannot be used.
    """
    check_model_name(recipe.model)
    rows = open_rows(recipe)
    prepare_libraries()  # before anything imports bitsandbytes
    console = Console(highlight=False)
    check_reporters(recipe.report_to)
    inputs = input_digests(recipe, rows)
    processor = load_processor(recipe.model, recipe.chat_template, recipe.max_pixels)
    in_folder = recipe.model_copy(update={"out": folder})
    plan = make_plan(in_folder, rows, processor, stages=Stages(folder), inputs=inputs)
    print_plan(console, recipe, plan, inputs)
    learner = build_learner(empty_model(recipe.model), recipe)
    groups = module_groups(learner, quantization=recipe.quantization)
    console.print(module_table(recipe.model, groups))
    console.print(image_cost_table(read_image_costs(folder / IMAGE_COSTS), recipe.batch_size))
    return groups


def check_reporters(names: list[str]) -> None:
    """Check that every name of ``report_to`` is a reporter that works here.

    Raises:
        UserError: transformers does not know the reporter, or its package is not installed.
    """
    if not names:
        return
    from transformers.integrations import integration_utils

    callbacks_of: Any = integration_utils.get_reporting_integration_callbacks
    for name in names:
        try:
            for callback in callbacks_of([name]):
                callback()
        except (ValueError, RuntimeError, ImportError) as error:
            raise UserError(f"report_to: {name}: {' '.join(str(error).split())}") from error


def load_learner(recipe: TrainRecipe, after: Path | None = None) -> Learner:
    """The base model, ready to train.

    Args:
        after: folder with the weights of an earlier stage. A sharded model cannot be wrapped a
            second time, so its stages load the model again.
    """
    from transformers import set_seed

    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        attention=fastest_attention(recipe.max_length),
    )  # fmt: skip
    set_seed(recipe.seed)
    learner = build_learner(base, recipe)
    if after is not None:
        load_weights(learner.model, after)
    return learner


def _remove_run(folder: Path) -> None:
    """Delete an earlier run, but no other folder."""
    if folder.is_dir() and any(folder.iterdir()):
        if Stages(folder).get(START) is None:
            raise UserError(f"{folder}: is not a run folder of `finetune train`, so --fresh does not delete it")
        shutil.rmtree(folder)


def _refuse_other_run(folder: Path, recipe: dict[str, Any], inputs: dict[str, str]) -> None:
    """Raise unless ``folder`` is free or holds an unfinished run of this recipe on these inputs."""
    start = Stages(folder).get(START)
    if start is None:
        if (folder / MANIFEST).exists() or (folder / "checkpoints").exists():
            raise UserError(f"{folder}: holds other results; give this run another name, or remove that folder")
        return
    # A run of an older version lacks new keys, whose value was today's default.
    before = {**TrainRecipe(name="x", model="x", data=Path("x")).model_dump(mode="json"), **start["recipe"]}
    changed = [f"{key} ({before[key]!r} there, {value!r} now)" for key, value in recipe.items() if before[key] != value]
    changed += [f"the files of {key}" for key, value in inputs.items() if start["inputs"].get(key) != value]
    if changed:
        raise UserError(
            f"{folder} holds a run that differs in {', '.join(changed)}; give this one another name, "
            "or replace that run with --fresh"
        )


def save_run(
    recipe: TrainRecipe, plan: TrainingPlan, processor: Any, inputs: dict[str, str], groups: list[ModuleGroup],
    clock: dict[str, float],
) -> None:  # fmt: skip
    """Write adapter, losses, curves, report and, last, the manifest; then remove the checkpoints.

    Args:
        clock: step → monotonic time at its end, in order.
    """
    from finetune.training.trainer import read_metrics

    folder, rows = recipe.folder, plan.rows
    adapter = _save_adapter(recipe, processor, plan, groups)
    losses = read_parts(folder / "checkpoints" / "losses")
    scored = write_sample_losses(losses, rows, folder / "losses.parquet")
    sources = write_source_losses(losses, rows, folder / "source_losses.parquet")
    metrics = read_metrics(folder / "metrics.jsonl")
    stages = [stage.name for stage in recipe.resolved_stages()]
    draw_loss_curve(metrics, stages, f"{recipe.name}: training loss", folder / "loss_curve.png")
    draw_source_curves(sources, f"{recipe.name}: training loss by source", folder / "source_curves.png")
    evaluations = [asdict(entry) for entry in read_evaluations(folder / EVALUATIONS)]
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
            "accepted": len(plan.checked.accepted.row),
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
            "evaluations": evaluations,
            "image_costs": json.loads((folder / IMAGE_COSTS).read_text(encoding="utf-8")),
        },
    )
    shutil.rmtree(folder / "checkpoints")


def _save_adapter(recipe: TrainRecipe, processor: Any, plan: TrainingPlan, groups: list[ModuleGroup]) -> Path:
    """The last stage's weights as the run's ``adapter/``; with ``decoder: full`` the whole model."""
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
