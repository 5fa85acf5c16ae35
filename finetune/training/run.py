"""A run from recipe to adapter: check, load, train stage by stage, save; resumes where it was killed."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from finetune.data.collate import Collator
from finetune.data.rows import open_rows
from finetune.finish import finish
from finetune.identity import IDENTITY, claim, input_digests, is_ours
from finetune.model.adapter import Learner, build_learner
from finetune.modules import as_table, module_groups
from finetune.recipe import TrainRecipe
from finetune.training.evaluation import evaluation_sets
from finetune.training.plan import checked_plan, print_plan
from finetune.training.processes import sharded, start_processes, world_size
from finetune.training.prompts import store_prompts
from finetune.training.stage import done_folder, is_done, run_stage
from winnow.errors import UserError
from winnow.models import prepare_libraries
from winnow.run import is_current, package_versions


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

    from finetune.model.load import load_processor

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

    if recipe.report_to:  # a wrong one is named before hours of work
        from finetune.training.monitor import check_reporters

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
        finish(recipe, plan, processor, inputs, groups, clock)
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

    from finetune.model.adapter import load_weights
    from finetune.model.load import fastest_attention, load_base

    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        attention=fastest_attention(recipe.max_length),
    )  # fmt: skip
    set_seed(recipe.seed)
    learner = build_learner(base, recipe)
    if after is not None:
        load_weights(learner.model, after)
    return learner


def _print_end(console: Console, folder: Path, clock: dict[str, float]) -> None:
    minutes = (clock["train"] - clock["load"]) / 60
    console.print(f"trained in {minutes:.1f} min: {folder}/adapter, losses.parquet, report.html, loss_curve.png")
    console.print(f"next: evalsuite run on {folder}/adapter, or `finetune merge {folder} --out DIR`")
