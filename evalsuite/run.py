"""An evaluation, step by step: ask, read, score, compare, report. Rerunning does what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.atomic import digest_of, sha256_file, write_json
from curate.config import load_recipe
from curate.errors import UserError
from curate.manifest import MANIFEST, is_current, read_manifest, write_manifest
from evalsuite.asking import build_requests, collect_replies, hash_images, to_row
from evalsuite.compare import FINISH, STAGE, compare, load_evaluation
from evalsuite.recipe import EvalRecipe
from evalsuite.report import write_reports
from evalsuite.results import Row, TaskResult, counts, score_rows, summarise, to_table
from evalsuite.store import PREDICTIONS, remove_parts, write_predictions
from evalsuite.task import Task, TaskSpec, load_spec, load_task

SCORES = "scores.json"
REPORTS = ("report.md", "report.html")
_VERSION = 1  # raise it when scoring or reports change, so that finished runs are scored anew


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
    from evalsuite.backends.loading import load_processor, model_digest

    _refuse_foreign(recipe.folder)
    specs = _specs(recipe)
    tasks = {name: load_task(spec, limit=recipe.limit, seed=recipe.seed) for name, spec in specs.items()}
    resolved = {**recipe.model_dump(mode="json"), "version": _VERSION}
    model = model_digest(recipe.model)
    inputs = {"model": model, **_task_inputs(tasks), **_baseline_inputs(recipe)}
    if is_current(recipe.folder, recipe=resolved, inputs=inputs):
        return recipe.folder, read_scores(recipe.folder), False
    seconds: dict[str, float] = {}
    started = time.monotonic()
    if recipe.baseline is not None:
        load_evaluation(recipe.baseline)  # so that a missing baseline is told before the model is asked
    processor = load_processor(recipe.model)
    asked = [entry for task in tasks.values() for entry in build_requests(task, hash_images(task), processor, model)]
    seconds["prepare"], started = time.monotonic() - started, time.monotonic()
    replies = collect_replies(recipe, asked, processor)
    seconds["ask"] = time.monotonic() - started
    rows: dict[str, list[Row]] = {name: [] for name in tasks}
    for entry in asked:
        rows[entry.task].append(to_row(entry, replies))
    extra = {
        "task_specs": {name: spec.model_dump(mode="json") for name, spec in specs.items()},
        "image_roots": {name: str(task.image_root) for name, task in tasks.items()},
        "skipped": _skipped(tasks),
        "model_digest": model,
    }
    scores = finish(recipe.folder, recipe.name, specs, rows, resolved=resolved, inputs=inputs, extra=extra,
                    seed=recipe.seed, baseline=recipe.baseline, label=_label(recipe), seconds=seconds)  # fmt: skip
    return recipe.folder, scores, True


def rescore(folder: Path, tasks: list[str]) -> dict[str, Any]:
    """Score a finished evaluation anew, without a model.

    Args:
        tasks: names or files whose settings replace those the run was made with; an evaluation
            keeps its own settings for all others.

    Raises:
        UserError: no finished evaluation, or a given task was not part of it.
    """
    specs, rows = load_evaluation(folder)
    manifest = read_manifest(folder, finish_with=FINISH)
    for given in tasks:
        spec = load_spec(given)
        if spec.name not in specs:
            raise UserError(f"{folder}: holds no task {spec.name!r}; it has {', '.join(specs)}")
        # What was asked cannot change any more; how it is read and scored can.
        read = {"extraction": spec.extraction, "metrics": spec.metrics, "slices": spec.slices}
        specs[spec.name] = specs[spec.name].model_copy(update=read)
    kept = {"sample_id", "image_keys", "images", "task", "question", "prompt", "raw", "references", "finish_reason",
            "input_tokens", "output_tokens", "seconds", "error", "request_key"}  # fmt: skip
    plain = {
        name: [{key: row[key] for key in row if key in kept or key.startswith("slice_")} for row in listed]
        for name, listed in rows.items()
    }
    recipe, inputs = manifest["recipe"], dict(manifest["inputs"])
    inputs.update({f"task {load_spec(given).name}": f"scored with {given}" for given in tasks})
    extra = {key: manifest[key] for key in ("image_roots", "skipped", "model_digest")}
    extra["task_specs"] = {name: spec.model_dump(mode="json") for name, spec in specs.items()}
    baseline = Path(recipe["baseline"]) if recipe["baseline"] else None
    return finish(
        folder, recipe["name"], specs, plain, resolved=recipe, inputs=inputs, extra=extra,
        seed=recipe["seed"], baseline=baseline, label=read_scores(folder)["model"], seconds=manifest["seconds"],
    )  # fmt: skip


def finish(
    folder: Path,
    name: str,
    specs: Mapping[str, TaskSpec],
    rows: Mapping[str, list[Row]],
    *,
    resolved: dict[str, Any],
    inputs: dict[str, str],
    extra: dict[str, Any],
    seed: int,
    baseline: Path | None,
    label: str,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Score, compare, write every output, the manifest last. Returns the scores."""
    started = time.monotonic()
    results: dict[str, TaskResult] = {task: score_rows(spec, rows[task]) for task, spec in specs.items()}
    scores: dict[str, Any] = {
        "name": name,
        "model": label,
        "level": 0.95,
        "tasks": {task: summarise(result, seed) for task, result in results.items()},
        "comparison": compare(baseline, rows, specs, seed) if baseline else None,
    }
    (folder / MANIFEST).unlink(missing_ok=True)  # while outputs change there is no result
    write_predictions(folder, [to_table(result) for result in results.values()])
    write_json(folder / SCORES, scores)
    write_reports(
        folder, scores, results, {task: Path(root) for task, root in extra["image_roots"].items()}, extra["skipped"]
    )
    remove_parts(folder)
    write_manifest(
        folder,
        stage=STAGE,
        recipe=resolved,
        inputs=inputs,
        outputs=[folder / file for file in (PREDICTIONS, SCORES, *REPORTS)],
        counts=counts(results),
        seconds={**seconds, "score": time.monotonic() - started},
        seeds={"seed": seed},
        extra=extra,
    )
    return scores


def read_scores(folder: Path) -> dict[str, Any]:
    """``scores.json`` of an evaluation.

    Raises:
        UserError: it is missing or no JSON.
    """
    path = folder / SCORES
    try:
        scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read; finish the run with `{FINISH}`") from error
    return scores


def _specs(recipe: EvalRecipe) -> dict[str, TaskSpec]:
    specs: dict[str, TaskSpec] = {}
    for given in recipe.tasks:
        spec = load_spec(given)
        if spec.name in specs:
            raise UserError(f"two tasks are named {spec.name!r}; give one of them another name")
        specs[spec.name] = spec
    return specs


def _refuse_foreign(folder: Path) -> None:
    """Never write into the folder of another stage."""
    if (folder / MANIFEST).is_file():
        stage = read_manifest(folder, finish_with=FINISH).get("stage")
        if stage != STAGE:
            raise UserError(f"{folder}: holds the result of {stage!r}; give this evaluation another `out`")


def _task_inputs(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Digest of each task's settings, rows and image files (path, size, time of change)."""
    inputs = {}
    for name, task in tasks.items():
        images = sorted({path for row in task.rows for path in row.images})
        files = [[path, *_looks(task.image_root / path)] for path in images]
        rows = [[row.sample_id, row.prompt, list(row.references), list(row.images)] for row in task.rows]
        inputs[f"task {name}"] = digest_of({"spec": task.spec.model_dump(mode="json"), "rows": rows, "images": files})
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
