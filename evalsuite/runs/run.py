"""An evaluation, step by step: ask, read, score, compare, report. Rerunning does what is missing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.analysis.compare import check_baseline
from evalsuite.analysis.results import Row
from evalsuite.backends import Reply
from evalsuite.backends.choice import choose
from evalsuite.collecting import collect_replies, without_answer
from evalsuite.finished import FINISH, STAGE
from evalsuite.recipe import EvalRecipe
from evalsuite.run_findings import check_answers, find_overlap
from evalsuite.run_inputs import inputs_of
from evalsuite.runs.finish import Evaluation, finish, read_scores
from evalsuite.runs.requests import Asked, build_requests, hash_images, to_row
from evalsuite.tasks.load import Task, load_task
from evalsuite.tasks.spec import TaskSpec, dumped, load_spec
from winnow.errors import UserError
from winnow.recipe import load_recipe
from winnow.run import MANIFEST, is_current, read_manifest

_VERSION = 3  # raise it when scoring or reports change, so that finished runs are scored anew


def run_recipe(path: Path, *, limit: int | None = None) -> tuple[Path, dict[str, Any], bool]:
    """Run the recipe in ``path``. Returns the folder, its scores, and whether anything was done.

    A finished run is left as it is if nothing has changed, but for rows that got no answer from a server
    (``evalsuite.collecting``). Stopped with Ctrl-C while the model is asked, it scores what was answered; then
    ``scores["partial"]`` is set and there is no manifest, because the run is not finished.

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
    inputs = inputs_of(recipe, tasks, backend.identity)
    current = is_current(recipe.folder, recipe=resolved, inputs=inputs)
    if current and not _open_again(recipe.folder, reachable=backend.reachable):
        return recipe.folder, read_scores(recipe.folder), False
    if recipe.baseline is not None:
        check_baseline(recipe.baseline, specs)
    started = time.monotonic()
    render = backend.renderer()
    asked = [
        entry for task in tasks.values() for entry in build_requests(task, hash_images(task), render, backend.identity)
    ]
    prepared = time.monotonic()
    replies: dict[str, Reply] = {}
    partial = False
    try:
        collect_replies(recipe.folder, backend, asked, replies)
    except KeyboardInterrupt:
        if not replies:
            raise
        partial = True
    seconds = {"prepare": prepared - started, "ask": time.monotonic() - prepared}
    rows = _rows(tasks, asked, replies, partial=partial)
    findings = find_overlap(recipe, asked, rows)
    if not partial:
        findings |= check_answers(recipe, backend, asked, replies, inputs)
    evaluation = Evaluation(
        name=recipe.name,
        label=backend.label,
        specs={name: spec for name, spec in specs.items() if rows[name]},
        rows=rows,
        seed=recipe.seed,
        baseline=recipe.baseline,
        recipe=resolved,
        inputs=inputs,
        extra={
            "task_specs": dumped(specs),
            "image_root": {name: str(task.image_root) for name, task in tasks.items()},
            "skipped": _skipped(tasks),
            "ask_again": {} if backend.repeatable else without_answer(asked, replies),
            **backend.facts,
        },
        seconds=seconds,
        corrections=recipe.corrections,
        findings=findings,
        partial={"rows": sum(map(len, rows.values())), "of": len(asked)} if partial else None,
    )
    return recipe.folder, finish(recipe.folder, evaluation), True


def _open_again(folder: Path, *, reachable: bool) -> bool:
    """Whether a finished run has questions that a server gave no answer to and can be asked now; says so."""
    left: dict[str, int] = read_manifest(folder, finish_with=FINISH).get("ask_again") or {}
    if not left:
        return False
    listed = ", ".join(f"{count:,} {status}" for status, count in left.items())
    then = "asked again" if reachable else "left as they are, because the server does not answer"
    print(f"Questions without an answer are {then}: {listed}", file=sys.stderr)
    return reachable


def _rows(
    tasks: Mapping[str, Task], asked: Sequence[Asked], replies: dict[str, Reply], *, partial: bool
) -> dict[str, list[Row]]:
    """Rows by task, in input order; of a stopped run only those that were answered or cannot be asked."""
    rows: dict[str, list[Row]] = {name: [] for name in tasks}
    for entry in asked:
        if not partial or entry.request is None or entry.request.key in replies:
            rows[entry.task].append(to_row(entry, replies))
    return rows


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


def _skipped(tasks: Mapping[str, Task]) -> dict[str, Any]:
    return {
        name: {"bad_rows": task.bad_rows[:20], "bad": len(task.bad_rows), "without_answer": len(task.unscorable)}
        for name, task in tasks.items()
    }
