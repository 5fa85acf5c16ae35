"""A training run: check the data, load the model, train stage by stage, save; a killed run resumes where it stopped."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from finetune.data.collate import Collator
from finetune.data.image_costs import IMAGE_COSTS, image_cost_table, read_image_costs
from finetune.data.pairs import batch_collator
from finetune.data.plan import TrainingPlan, input_digests, make_plan, print_plan
from finetune.data.rows import open_rows
from finetune.data.standard_images import StandardCosts, standard_costs, standard_table
from finetune.model.adapter import Learner, ModuleGroup, build_learner, load_weights, module_groups, module_table
from finetune.model.load import fastest_attention, load_base, load_processor, processor_place
from finetune.model.quantised import check_quantised, quantised_share
from finetune.model.shards import read_tensors, write_tensors
from finetune.processes import check_device, sharded, start_processes, world_size
from finetune.recipe import TrainRecipe
from finetune.report.report import draw_loss_curve, draw_source_curves, write_card, write_report
from finetune.report.serving import serving_notes, serving_sentence
from finetune.training.evaluation import EVALUATIONS, kept_lines, prepare_evaluation, read_evaluations, report_rows
from finetune.training.losses import MARGINS, read_parts, write_margins, write_sample_losses, write_source_losses
from finetune.training.memory import BatchSize, memory_table
from finetune.training.options import check_options
from finetune.training.probe import longest_batch
from finetune.training.prompts import PROMPTS, store_prompts
from finetune.training.stage import done_folder, is_done, run_stage
from winnow.errors import UserError
from winnow.files import remove_leftovers, write_json
from winnow.remote.downloads import is_remote, parse, pinned
from winnow.run import MANIFEST, Stages, is_current, package_versions, read_manifest, write_manifest
from winnow.vlm.anatomy import find_parts
from winnow.vlm.inputs import save_input_settings
from winnow.vlm.models import check_model_name, empty_model, prepare_libraries

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
    recipe = pinned_recipe(recipe)
    rows, folder = open_rows(recipe), recipe.folder  # wrong paths are reported before any model library loads
    prepare_libraries()  # before anything imports bitsandbytes
    state = start_processes()
    console = Console(stderr=True, highlight=False, quiet=not state.is_main_process)
    resolved, inputs = recipe.model_dump(mode="json"), input_digests(recipe, rows)
    with state.main_process_first():
        if state.is_main_process:
            remove_leftovers(folder)
            if fresh:
                _remove_run(folder)
        current = _is_finished(folder, resolved, inputs)
        if not current:
            _refuse_other_run(folder, resolved, inputs)
    if current:
        if state.is_main_process:
            _remove_checkpoints(recipe)  # of a run that was killed right after its manifest
        console.print(f"{folder} is up to date; `--fresh` trains it again")
        return folder

    check_device(recipe)
    check_options(recipe)  # before hours of work
    processor = load_processor(processor_place(recipe), recipe.chat_template, recipe.input_settings)
    with state.main_process_first():
        stages = Stages(folder)
        plan = make_plan(recipe, rows, processor, stages=stages, inputs=inputs)
        collator = Collator(
            processor, rows.image_root, recipe.input_settings, always_image=world_size() > 1,
            max_length=recipe.max_length,
        )  # fmt: skip
        evaluation = prepare_evaluation(recipe, processor, collator, folder)
    clock["check"] = time.monotonic()
    print_plan(console, recipe, plan, inputs)
    _tell_quantization(recipe, console)
    if state.is_main_process and (recipe.processor or recipe.max_pixels):
        _standard_costs(recipe, console)
    learner = load_learner(recipe)
    groups = module_groups(learner)
    console.print(module_table(recipe.model, groups, learner.quantised))
    if state.is_main_process:
        modules = [asdict(group) for group in groups]
        stages.set(START, {"recipe": resolved, "inputs": inputs, "packages": package_versions(), "modules": modules})
        if not store_prompts(recipe, plan, processor, folder) and not plan.masks.gaps:
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
        console.print(f"next: measure {folder}/adapter with `evalsuite run`", soft_wrap=True)
        if recipe.decoder != "full":
            config = folder / "adapter" / "adapter_config.json"
            note = serving_sentence(config, folder, tower="lora" in recipe.vision_modes())
            console.print(note, markup=False, soft_wrap=True)
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
    recipe = pinned_recipe(recipe)
    rows = open_rows(recipe)
    prepare_libraries()  # before anything imports bitsandbytes
    console = Console(highlight=False)
    check_options(recipe)
    inputs = input_digests(recipe, rows)
    processor = load_processor(processor_place(recipe), recipe.chat_template, recipe.input_settings)
    in_folder = recipe.model_copy(update={"out": folder})
    plan = make_plan(in_folder, rows, processor, stages=Stages(folder), inputs=inputs)
    print_plan(console, recipe, plan, inputs)
    _tell_quantization(recipe, console)
    learner = build_learner(empty_model(recipe.model), recipe)
    groups = module_groups(learner, quantization=recipe.quantization)
    console.print(module_table(recipe.model, groups, learner.quantised))
    console.print(standard_table(_standard_costs(recipe, console)))
    console.print(image_cost_table(read_image_costs(folder / IMAGE_COSTS), recipe.batch_size * recipe.sides))
    collator = batch_collator(recipe, Collator(processor, rows.image_root, recipe.input_settings), rows)
    stages = zip(recipe.resolved_stages(), plan.schedules, strict=True)
    batches = [longest_batch(schedule, stage.batch_size, collator) for stage, schedule in stages]
    sizes = [BatchSize.of(batch, learner.model.config) for batch in batches]
    console.print(memory_table(learner, recipe, sizes, max(2, world_size())))
    return groups


def pinned_recipe(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with the commits that its branches and tags of the hub stand for now.

    Raises:
        UserError: a repository cannot be found or reached.
    """

    def pin(path: Path) -> Path:
        return Path(pinned(str(path), "dataset")) if is_remote(str(path)) else path

    given = recipe.data
    data = {name: pin(path) for name, path in given.items()} if isinstance(given, dict) else pin(given)
    evaluate = {name: pin(path) for name, path in recipe.evaluate.items()}
    model = recipe.model if Path(recipe.model).is_dir() else pinned(recipe.model, "model")
    adapter = recipe.adapter
    if adapter is not None and not Path(adapter).is_dir():
        adapter = pinned(adapter, "model")
    return recipe.model_copy(update={"model": model, "adapter": adapter, "data": data, "evaluate": evaluate})


def _tell_quantization(recipe: TrainRecipe, console: Console) -> None:
    """Say which quantization an adapter is trained on when neither the recipe nor the adapter's run names one."""
    if recipe.adapter is not None and "quantization" not in recipe.model_fields_set:
        console.print(
            f"[yellow]warning:[/] {recipe.adapter} does not tell how its base was quantised; this run takes "
            f"quantization: {recipe.quantization}; set the key to what it was trained on"
        )


def _standard_costs(recipe: TrainRecipe, console: Console) -> StandardCosts:
    """What standard images cost; prints which image settings do nothing."""
    costs = standard_costs(load_processor(processor_place(recipe), recipe.chat_template), recipe.input_settings)
    for warning in costs.warnings:
        console.print(f"[yellow]warning:[/] {warning}")
    return costs


def load_learner(recipe: TrainRecipe, after: Path | None = None) -> Learner:
    """The base model, ready to train.

    Args:
        after: folder with the weights of an earlier stage. A sharded model cannot be wrapped a
            second time, so its stages load the model again.
    """
    from transformers import set_seed

    if recipe.quantization != "none":
        empty = empty_model(recipe.model)
        share = quantised_share(empty, find_parts(empty), recipe.quantization)
        check_quantised(share, recipe.quantization, recipe.max_unquantized)
    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        attention=recipe.attention or fastest_attention(recipe.max_length), settings=recipe.input_settings,
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


def _is_finished(folder: Path, recipe: dict[str, Any], inputs: dict[str, str]) -> bool:
    """Whether ``folder`` holds this run, perhaps made by an older version, whose recipe had fewer keys."""
    if not (folder / MANIFEST).is_file():
        return False
    made_with = read_manifest(folder, finish_with="finetune train").get("recipe", {})
    return _completed(made_with) == recipe and is_current(folder, recipe=made_with, inputs=inputs)


def _completed(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe of an older version with today's defaults for the keys it lacks: what it did is their default."""
    try:
        return TrainRecipe.model_validate(recipe).model_dump(mode="json")
    except ValidationError:  # of other keys or values
        return recipe


def _refuse_other_run(folder: Path, recipe: dict[str, Any], inputs: dict[str, str]) -> None:
    """Raise unless ``folder`` is free or holds an unfinished run of this recipe on these inputs."""
    start = Stages(folder).get(START)
    if start is None:
        if (folder / MANIFEST).exists() or (folder / "checkpoints").exists():
            raise UserError(f"{folder}: holds other results; give this run another name, or remove that folder")
        return
    before = _completed(start["recipe"])
    changed = [
        f"{key} ({before.get(key)!r} there, {value!r} now)" for key, value in recipe.items() if before.get(key) != value
    ]
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
    margins = write_margins(losses, rows, folder / MARGINS) if recipe.method == "dpo" else None
    metrics = read_metrics(folder / "metrics.jsonl")
    stages = [stage.name for stage in recipe.resolved_stages()]
    draw_loss_curve(metrics, stages, f"{recipe.name}: training loss", folder / "loss_curve.png")
    draw_source_curves(sources, f"{recipe.name}: training loss by source", folder / "source_curves.png")
    measured = read_evaluations(folder / EVALUATIONS)
    evaluations, ended = [asdict(entry) for entry in measured], kept_lines(measured, recipe)
    write_report(recipe, plan, groups, metrics, report_rows(measured, recipe), margins)
    names = ["losses.parquet", "source_losses.parquet", "metrics.jsonl", "loss_curve.png", "source_curves.png",
             "rejects.jsonl", PROMPTS, "report.md", "report.html", *([EVALUATIONS] if evaluations else []),
             *([MARGINS] if margins else [])]  # fmt: skip
    outputs = [path for path in adapter.rglob("*") if path.is_file()] + [folder / name for name in names]
    for stage in (folder / "checkpoints").glob("stage-*"):
        for kept in _kept_checkpoints(recipe, stage):  # can be loaded as adapters
            processor.save_pretrained(kept)
            save_input_settings(kept, recipe.input_settings)
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
            "kept_steps": {stages[stage]: entry.step for (stage, _), entry in ended.items() if stage >= 0},
            "image_costs": json.loads((folder / IMAGE_COSTS).read_text(encoding="utf-8")),
        },
    )
    _remove_checkpoints(recipe)


def _kept_checkpoints(recipe: TrainRecipe, stage: Path) -> list[Path]:
    """The last ``keep_checkpoints`` of a stage."""
    steps = sorted(stage.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    return steps[max(0, len(steps) - recipe.keep_checkpoints) :]


def _remove_checkpoints(recipe: TrainRecipe) -> None:
    """Remove the checkpoints of a finished run but those to keep."""
    checkpoints = recipe.folder / "checkpoints"
    for stage in checkpoints.glob("stage-*") if recipe.keep_checkpoints else []:
        kept = _kept_checkpoints(recipe, stage)
        for path in set(stage.iterdir()) - set(kept):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    gone = checkpoints / "losses" if recipe.keep_checkpoints else checkpoints
    shutil.rmtree(gone, ignore_errors=True)


def _name_base(config: Path, model: str) -> None:
    """Name a base of a hub in an adapter's configuration as other programs look for it: not this machine's folder."""
    if not Path(model).is_dir():
        named = parse(model, "model")
        values = json.loads(config.read_text(encoding="utf-8"))
        write_json(config, {**values, "base_model_name_or_path": named.name, "revision": named.revision})


def _save_adapter(recipe: TrainRecipe, processor: Any, plan: TrainingPlan, groups: list[ModuleGroup]) -> Path:
    """The last stage's weights as the run's ``adapter/``; with ``decoder: full`` the whole model."""
    import torch
    from transformers import AutoConfig

    partial, adapter = recipe.folder / "adapter.partial", recipe.folder / "adapter"
    done = done_folder(recipe, len(plan.schedules) - 1)
    shutil.rmtree(partial, ignore_errors=True)
    if recipe.decoder == "full":
        dtype = getattr(torch, recipe.compute_dtype)
        write_tensors(((key, tensor.to(dtype)) for key, tensor in read_tensors(done)), partial)
        config = AutoConfig.from_pretrained(done)
        config.dtype = dtype
        config.save_pretrained(partial)
        for path in done.glob("generation_config.json"):
            shutil.copyfile(path, partial / path.name)
    else:
        partial.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(done / name, partial / name)
        _name_base(partial / "adapter_config.json", recipe.model)
    processor.save_pretrained(partial)
    save_input_settings(partial, recipe.input_settings)
    serving = serving_notes(recipe.model, processor, recipe.input_settings, Path("DIR"))
    write_card(recipe, plan, groups, serving, partial / "README.md")
    shutil.rmtree(adapter, ignore_errors=True)
    partial.rename(adapter)
    return adapter
