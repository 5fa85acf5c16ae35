"""An evaluation, step by step: ask, read, score, compare, report. Rerunning does what is missing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.atomic import digest_of, sha256_file
from curate.config import load_recipe
from curate.errors import UserError
from curate.manifest import MANIFEST, is_current, read_manifest
from evalsuite.asking import build_requests, collect_replies, hash_images, to_row
from evalsuite.compare import FINISH, STAGE, check_baseline, load_evaluation
from evalsuite.evaluation import Evaluation, finish, read_scores
from evalsuite.recipe import EvalRecipe
from evalsuite.results import SLICE, Row
from evalsuite.store import BASE_SCHEMA, PREDICTIONS
from evalsuite.task import Task, TaskSpec, load_spec, load_task

_VERSION = 1  # raise it when scoring or reports change, so that finished runs are scored anew
_READ_ANEW = ("extracted", "status")


def run_recipe(path: Path, *, limit: int | None = None) -> tuple[Path, dict[str, Any], bool]:
    """Run the recipe in ``path``. Returns the folder, its scores, and whether anything was done.

    Args:
        limit: replaces the recipe's own.

    Raises:
        UserError: recipe, task, data, model or baseline is missing or wrong.
    """
    recipe = load_recipe(path, EvalRecipe)
    if limit is not None:
        recipe = recipe.model_copy(update={"limit": limit})
    _refuse_foreign(recipe.folder)
    specs = _specs(recipe)
    tasks = {name: load_task(spec, limit=recipe.limit, seed=recipe.seed) for name, spec in specs.items()}
    from evalsuite.backends.loading import load_processor, model_digest

    model = model_digest(recipe.model)
    resolved = {**recipe.model_dump(mode="json"), "version": _VERSION}
    inputs = {"model": model, **_task_inputs(tasks), **_baseline_inputs(recipe)}
    if is_current(recipe.folder, recipe=resolved, inputs=inputs):
        return recipe.folder, read_scores(recipe.folder), False
    if recipe.baseline is not None:
        check_baseline(recipe.baseline, specs)
    started = time.monotonic()
    processor = load_processor(recipe.model)
    asked = [entry for task in tasks.values() for entry in build_requests(task, hash_images(task), processor, model)]
    prepared = time.monotonic()
    replies = collect_replies(recipe, asked, processor)
    seconds = {"prepare": prepared - started, "ask": time.monotonic() - prepared}
    rows: dict[str, list[Row]] = {name: [] for name in tasks}
    for entry in asked:
        rows[entry.task].append(to_row(entry, replies))
    extra = {
        "task_specs": _dumped(specs),
        "image_root": {name: str(task.image_root) for name, task in tasks.items()},
        "skipped": _skipped(tasks),
        "model_digest": model,
    }
    evaluation = Evaluation(
        recipe.name, _label(recipe), specs, rows, recipe.seed, recipe.baseline, resolved, inputs, extra, seconds
    )
    return recipe.folder, finish(recipe.folder, evaluation), True


def rescore(folder: Path, tasks: list[str]) -> dict[str, Any]:
    """Score a finished evaluation anew, without a model.

    Args:
        tasks: names or files of tasks whose extraction, metrics and slices are used instead of
            those the evaluation was made with.

    Raises:
        UserError: no finished evaluation, or a given task was not part of it.
    """
    specs, rows = load_evaluation(folder)
    manifest = read_manifest(folder, finish_with=FINISH)
    recipe, inputs = manifest["recipe"], dict(manifest["inputs"])
    for given in tasks:
        spec = load_spec(given)
        if spec.name not in specs:
            raise UserError(f"{folder}: holds no task {spec.name!r}; it has {', '.join(specs)}")
        # What was asked cannot change any more; how it is read and scored can.
        read = {"extraction": spec.extraction, "metrics": spec.metrics, "slices": spec.slices}
        specs[spec.name] = specs[spec.name].model_copy(update=read)
        inputs[f"task {spec.name}"] = f"scored with {given}"
    extra = {key: manifest[key] for key in ("image_root", "skipped", "model_digest")}
    extra["task_specs"] = _dumped(specs)
    evaluation = Evaluation(
        name=recipe["name"],
        label=read_scores(folder)["model"],
        specs=specs,
        rows={name: [_unscored(row) for row in listed] for name, listed in rows.items()},
        seed=recipe["seed"],
        baseline=Path(recipe["baseline"]) if recipe["baseline"] else None,
        recipe=recipe,
        inputs=inputs,
        extra=extra,
        seconds=manifest["seconds"],
    )
    return finish(folder, evaluation)


def _unscored(row: Row) -> Row:
    """The row as it was before it was read and scored."""
    kept = set(BASE_SCHEMA.names) - set(_READ_ANEW)
    return {key: value for key, value in row.items() if key in kept or key.startswith(SLICE)}


def _refuse_foreign(folder: Path) -> None:
    """Never write into the folder of another stage."""
    if (folder / MANIFEST).is_file():
        stage = read_manifest(folder, finish_with=FINISH).get("stage")
        if stage != STAGE:
            raise UserError(f"{folder}: holds the result of {stage!r}; give this evaluation another `out`")


def _specs(recipe: EvalRecipe) -> dict[str, TaskSpec]:
    specs: dict[str, TaskSpec] = {}
    for given in recipe.tasks:
        spec = load_spec(given)
        if spec.name in specs:
            raise UserError(f"two tasks are named {spec.name!r}; give one of them another name")
        specs[spec.name] = spec
    return specs


def _dumped(specs: Mapping[str, TaskSpec]) -> list[dict[str, Any]]:
    return [spec.to_json() for spec in specs.values()]


def _task_inputs(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Digest of each task's settings, rows and image files (path, size, time of change)."""
    inputs = {}
    for name, task in tasks.items():
        images = sorted({path for row in task.rows for path in row.images})
        files = [[path, *_looks(task.image_root / path)] for path in images]
        rows = [[row.sample_id, row.prompt, list(row.references), list(row.images)] for row in task.rows]
        inputs[f"task {name}"] = digest_of({"spec": task.spec.to_json(), "rows": rows, "images": files})
    return inputs


def _looks(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _baseline_inputs(recipe: EvalRecipe) -> dict[str, str]:
    if recipe.baseline is None:
        return {}
    path = recipe.baseline / PREDICTIONS
    return {"baseline": sha256_file(path) if path.is_file() else "missing"}


def _skipped(tasks: Mapping[str, Task]) -> dict[str, Any]:
    return {
        name: {"bad_rows": task.bad_rows[:20], "bad": len(task.bad_rows), "without_answer": len(task.unscorable)}
        for name, task in tasks.items()
    }


def _label(recipe: EvalRecipe) -> str:
    model = recipe.model
    parts = [model.path]
    if model.adapter:
        parts.append(f"+ {model.adapter}")
    if model.quantization != "none":
        parts.append(f"({model.quantization}{', merged' if model.adapter and model.merge_adapter != 'none' else ''})")
    return " ".join(parts)
