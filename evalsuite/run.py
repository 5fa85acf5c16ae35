"""An evaluation, step by step: ask, read, score, compare, report. Rerunning does what is missing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.atomic import digest_of, sha256_file
from curate.config import load_recipe
from curate.errors import UserError
from curate.manifest import MANIFEST, is_current, read_manifest
from evalsuite.asking import Asked, build_requests, collect_replies, distinct_requests, hash_images, to_row
from evalsuite.backends import Reply
from evalsuite.backends.choice import Backend, choose
from evalsuite.batch_check import compare_batches, draw, ids_of
from evalsuite.compare import check_baseline
from evalsuite.corrected import corrections_digest
from evalsuite.evaluation import Evaluation, finish, read_scores
from evalsuite.finished import FINISH, STAGE
from evalsuite.overlap import mark, touched_images
from evalsuite.recipe import EvalRecipe
from evalsuite.results import Row
from evalsuite.store import PREDICTIONS, stored_replies
from evalsuite.task import Task, TaskSpec, dumped, load_spec, load_task

_CHECKED = {"model", "server", "tasks", "limit", "batch_size", "seed", "check_batch"}
_VERSION = 2  # raise it when scoring or reports change, so that finished runs are scored anew


def run_recipe(path: Path, *, limit: int | None = None) -> tuple[Path, dict[str, Any], bool]:
    """Run the recipe in ``path``. Returns the folder, its scores, and whether anything was done.

    Stopped with Ctrl-C while the model is asked, it scores what was answered; then ``scores["partial"]``
    is set and there is no manifest, because the run is not finished.

    Args:
        limit: replaces the recipe's own.

    Raises:
        UserError: recipe, task, data, model, server or baseline is missing or wrong.
    """
    recipe = load_recipe(path, EvalRecipe)
    if limit is not None:
        recipe = recipe.model_copy(update={"limit": limit})
    _refuse_foreign(recipe.folder)
    specs = _specs(recipe)
    tasks = {name: load_task(spec, limit=recipe.limit, seed=recipe.seed) for name, spec in specs.items()}
    backend = choose(recipe)
    resolved = {**recipe.model_dump(mode="json"), "version": _VERSION}
    inputs = {"model": backend.identity, **_task_inputs(tasks), **_folder_inputs(recipe)}
    if is_current(recipe.folder, recipe=resolved, inputs=inputs) and not _failed_before(recipe.folder):
        return recipe.folder, read_scores(recipe.folder), False
    if recipe.baseline is not None:
        check_baseline(recipe.baseline, specs)
    started = time.monotonic()
    render = backend.renderer()
    asked = [
        entry for task in tasks.values() for entry in build_requests(task, hash_images(task), render, backend.identity)
    ]
    requests = distinct_requests(asked)
    prepared = time.monotonic()
    replies: dict[str, Reply] = {}
    partial = False
    try:
        collect_replies(recipe.folder, backend, requests, replies)
    except KeyboardInterrupt:
        replies.update(stored_replies(recipe.folder))  # a part may have been written just before
        if not replies:
            raise
        partial = True
    seconds = {"prepare": prepared - started, "ask": time.monotonic() - prepared}
    rows: dict[str, list[Row]] = {name: [] for name in tasks}
    for entry in asked:
        if not partial or entry.request is None or entry.request.key in replies:
            rows[entry.task].append(to_row(entry, replies))
    findings = _findings(recipe, backend, asked, replies, rows, inputs, partial=partial)
    failed = sum(reply.finish_reason == "error" for reply in replies.values())
    extra = {
        "task_specs": dumped(specs),
        "image_root": {name: str(task.image_root) for name, task in tasks.items()},
        "skipped": _skipped(tasks),
        "ask_again": failed if backend.asks_failed_again else 0,
        **backend.facts,
    }
    evaluation = Evaluation(
        name=recipe.name,
        label=backend.label,
        specs={name: spec for name, spec in specs.items() if rows[name]},
        rows=rows,
        seed=recipe.seed,
        baseline=recipe.baseline,
        recipe=resolved,
        inputs=inputs,
        extra=extra,
        seconds=seconds,
        corrections=recipe.corrections,
        findings=findings,
        partial={"rows": sum(map(len, rows.values())), "of": len(asked)} if partial else None,
    )
    return recipe.folder, finish(recipe.folder, evaluation), True


def _findings(
    recipe: EvalRecipe, backend: Backend, asked: Sequence[Asked], replies: Mapping[str, Reply],
    rows: Mapping[str, list[Row]],
    inputs: Mapping[str, str], *, partial: bool,
) -> dict[str, Any]:  # fmt: skip
    """Rows that show training pictures are marked; answers are checked against batches of one."""
    findings: dict[str, Any] = {}
    if recipe.training_set is not None:
        files = {
            key: file for entry in asked if entry.request
            for key, file in zip(entry.request.image_keys, entry.request.images, strict=True)
        }  # fmt: skip
        touched = touched_images(recipe.training_set, files)
        for listed in rows.values():
            mark(listed, touched)
        ways = list(touched.values())
        findings["contamination"] = {
            "training_set": str(recipe.training_set), "images": len(files), "touched": len(ways),
            "by_bytes": ways.count("bytes"), "by_look": ways.count("look"),
        }  # fmt: skip
    if recipe.check_batch is not None and not partial:
        chosen = draw(distinct_requests(asked), recipe.check_batch, recipe.seed)
        findings["batch_check"] = _checked_before(recipe, inputs) or compare_batches(
            backend, recipe, chosen, replies, ids_of(asked)
        )
    return findings


def _checked_before(recipe: EvalRecipe, inputs: Mapping[str, str]) -> dict[str, Any] | None:
    """The batch check of a finished run of the same model, rows and batches: it need not be made again."""
    if not (recipe.folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(recipe.folder, finish_with=FINISH)
    now = recipe.model_dump(mode="json", include=_CHECKED)
    same_recipe = all(manifest["recipe"].get(name) == value for name, value in now.items())
    same_rows = all(
        manifest["inputs"].get(name) == value
        for name, value in inputs.items()
        if name == "model" or name.startswith("task ")
    )
    found: dict[str, Any] | None = manifest.get("findings", {}).get("batch_check")
    return found if same_recipe and same_rows else None


def _refuse_foreign(folder: Path) -> None:
    """Never write into the folder of another stage."""
    if (folder / MANIFEST).is_file():
        stage = read_manifest(folder, finish_with=FINISH).get("stage")
        if stage != STAGE:
            raise UserError(f"{folder}: holds the result of {stage!r}; give this evaluation another `out`")


def _failed_before(folder: Path) -> bool:
    """Whether the finished run holds requests that a server failed, which may work now."""
    return bool(read_manifest(folder, finish_with=FINISH).get("ask_again"))


def _specs(recipe: EvalRecipe) -> dict[str, TaskSpec]:
    specs: dict[str, TaskSpec] = {}
    for given in recipe.tasks:
        spec = load_spec(given)
        if spec.name in specs:
            raise UserError(f"two tasks are named {spec.name!r}; give one of them another name")
        specs[spec.name] = spec
    return specs


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


def _folder_inputs(recipe: EvalRecipe) -> dict[str, str]:
    """Digests of what the other folders that the recipe names hold now."""
    inputs = {}
    for name, folder, file in (
        ("baseline", recipe.baseline, PREDICTIONS),
        ("training_set", recipe.training_set, "samples.parquet"),
    ):
        if folder is not None:
            inputs[name] = sha256_file(folder / file) if (folder / file).is_file() else "missing"
    if recipe.corrections is not None:
        inputs["corrections"] = corrections_digest(recipe.corrections)
    return inputs


def _skipped(tasks: Mapping[str, Task]) -> dict[str, Any]:
    return {
        name: {"bad_rows": task.bad_rows[:20], "bad": len(task.bad_rows), "without_answer": len(task.unscorable)}
        for name, task in tasks.items()
    }
