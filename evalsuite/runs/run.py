"""An evaluation, step by step: ask, read, score, compare, report. A repeated run does only what is missing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evalsuite.analysis.compare import check_baseline
from evalsuite.analysis.corrected import corrections_digest
from evalsuite.analysis.overlap import flag_overlap, touched_images
from evalsuite.analysis.results import FINISH, STAGE
from evalsuite.backends import Backend, Render, Reply
from evalsuite.backends.images import TaskImage
from evalsuite.metrics.base import Row
from evalsuite.metrics.own import allowing_code, code_digest, is_own
from evalsuite.recipe import EvalRecipe
from evalsuite.report.checked import print_findings
from evalsuite.runs.ask import ask, asked_again, left_to_ask
from evalsuite.runs.batch_check import compare_batches, draw_requests, ids_of
from evalsuite.runs.check import find_trouble, refuse_errors
from evalsuite.runs.finish import UnscoredRun, finish, read_scores
from evalsuite.runs.judging import (
    judge_answers,
    judge_facts,
    judge_findings,
    judge_inputs,
    judged_again,
    judges_of,
    probe_judges,
)
from evalsuite.runs.requests import (
    RowRequest,
    build_requests,
    distinct_requests,
    earlier_answers,
    hash_images,
    select_backend,
    to_row,
)
from evalsuite.runs.tasks import load_tasks
from evalsuite.store import PREDICTIONS
from evalsuite.tasks.load import Task
from evalsuite.tasks.spec import dumped
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.recipe import load_recipe
from winnow.remote.addresses import shown
from winnow.run import MANIFEST, is_current, read_manifest

_VERSION = 6  # raise it when scoring or reports change, so that finished runs are scored again
# Parts of a recipe that decide the outcome of a batch check.
_CHECKED = {"model", "server", "tasks", "limit", "batch_size", "seed", "check_batch"}


def run_recipe(path: Path, *, limit: int | None = None, again: Sequence[str] = ()) -> tuple[Path, dict[str, Any], bool]:
    """Run the recipe in ``path``. Returns the folder, its scores, and whether anything was done.

    A finished run is left as it is if nothing has changed, except that rows which never reached the server's
    model are asked again (``evalsuite.runs.ask``). A run stopped with Ctrl-C while the model is asked scores what was
    answered; then ``scores["partial"]`` is set and there is no manifest, because the run is not finished.

    Args:
        limit: replaces the recipe's own.
        again: statuses whose rows are asked once more.

    Raises:
        UserError: recipe, task, data, model, server or baseline is missing or wrong.
    """
    recipe = load_recipe(path, EvalRecipe)
    if limit is not None:
        recipe = recipe.model_copy(update={"limit": limit})
    _refuse_foreign(recipe.folder)
    tasks = load_tasks(recipe)
    specs = {name: task.spec for name, task in tasks.items()}
    backend = select_backend(recipe)
    judges = judges_of(recipe, specs)
    resolved = {**recipe.model_dump(mode="json"), "version": _VERSION}
    inputs = {**fingerprint(recipe, tasks, backend.identity), **judge_inputs(judges)}
    current = is_current(recipe.folder, recipe=resolved, inputs=inputs) and not judged_again(recipe.folder, judges)
    if again and not backend.reachable:
        raise UserError(f"{backend.label}: does not answer, so nothing can be asked again; start the server")
    if current and not again and not _has_unanswered(recipe.folder, reachable=backend.reachable):
        return recipe.folder, read_scores(recipe.folder), False
    if recipe.baseline is not None:
        check_baseline(recipe.baseline, specs)
    started = time.monotonic()
    checked = find_trouble(recipe, tasks) + [one for one in judge_findings(judges, tasks) if one.level != "note"]
    refuse_errors(path, checked)
    checked += probe_judges(recipe.folder, judges, tasks)
    refuse_errors(path, checked)
    print_findings((finding for finding in checked if finding.level == "warning"), Console(stderr=True))
    render = backend.renderer()
    images = {name: hash_images(task) for name, task in tasks.items()}
    asked = [
        entry for name, task in tasks.items() for entry in build_requests(task, images[name], render, backend.identity)
    ]
    prepared = time.monotonic()
    replies: dict[str, Reply] = {}
    partial = False
    try:
        ask(recipe.folder, backend, asked, replies, again)
        for turn in range(1, _turns(tasks)):
            asked += (later := _later_turn(turn, tasks, images, render, backend, asked, replies))
            ask(recipe.folder, backend, later, replies, again)
    except KeyboardInterrupt:
        if not replies:
            raise
        partial = True
    seconds = {"prepare": prepared - started, "ask": time.monotonic() - prepared}
    rows = _rows(tasks, asked, replies, partial=partial)
    findings = {
        "check": [finding.to_json() for finding in checked],
        "again": asked_again(recipe.folder, asked),
        **overlap_findings(recipe, asked, rows),
    }
    if not partial:
        findings |= batch_findings(recipe, backend, asked, replies, inputs)
    answered = time.monotonic()
    judgements = {} if partial else judge_answers(recipe.folder, specs, judges, rows)
    seconds["judge"] = time.monotonic() - answered
    unscored = UnscoredRun(
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
            "image_root": {name: shown(task.image_root) for name, task in tasks.items()},
            "skipped": _skipped(tasks),
            "notes": {name: task.notes for name, task in tasks.items() if task.notes},
            "ask_again": left_to_ask(replies),
            "judges": judge_facts(judges, judgements),
            **backend.facts,
        },
        seconds=seconds,
        corrections=recipe.corrections,
        findings=findings,
        judgements=judgements,
        partial={"rows": sum(map(len, rows.values())), "of": _count(tasks)} if partial else None,
    )
    with allowing_code(recipe.allow_code):
        return recipe.folder, finish(recipe.folder, unscored), True


def _has_unanswered(folder: Path, *, reachable: bool) -> bool:
    """Whether a finished run has questions that never reached the model and can be asked now; prints how many."""
    left: int = read_manifest(folder, finish_with=FINISH)["ask_again"]
    if not left:
        return False
    then = "asked again" if reachable else "left as they are, because the server does not answer"
    print(f"Questions that never reached the model are {then}: {left:,}", file=sys.stderr)
    return reachable


def _turns(tasks: Mapping[str, Task]) -> int:
    """Most questions of a conversation."""
    return max((1 + len(row.earlier) for task in tasks.values() for row in task.rows), default=1)


def _count(tasks: Mapping[str, Task]) -> int:
    return sum(len(task.rows) for task in tasks.values())


def _later_turn(
    turn: int,
    tasks: Mapping[str, Task],
    images: Mapping[str, dict[str, TaskImage]],
    render: Render,
    backend: Backend,
    asked: Sequence[RowRequest],
    replies: Mapping[str, Reply],
) -> list[RowRequest]:
    """Requests of a later turn, whose chats hold the model's answers to the turns before it."""
    found: list[RowRequest] = []
    for name, task in tasks.items():
        answered = earlier_answers([entry for entry in asked if entry.task == name], replies)
        found += build_requests(task, images[name], render, backend.identity, turn=turn, answered=answered)
    return found


def _rows(
    tasks: Mapping[str, Task], asked: Sequence[RowRequest], replies: dict[str, Reply], *, partial: bool
) -> dict[str, list[Row]]:
    """Rows by task, in input order; of a stopped run only those that were answered or cannot be asked."""
    entries = {(entry.task, entry.row.sample_id): entry for entry in asked}
    rows: dict[str, list[Row]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        for row in task.rows:
            entry = entries.get((name, row.sample_id))
            if entry and (not partial or entry.request is None or entry.request.key in replies):
                rows[name].append(to_row(entry, replies))
    return rows


def _refuse_foreign(folder: Path) -> None:
    """Never write into the folder of another stage."""
    if (folder / MANIFEST).is_file():
        stage = read_manifest(folder, finish_with=FINISH).get("stage")
        if stage != STAGE:
            raise UserError(f"{folder}: holds the result of {stage!r}; give this evaluation another `out`")


def _skipped(tasks: Mapping[str, Task]) -> dict[str, Any]:
    return {
        name: {
            "bad_rows": task.bad_rows[:20],
            "bad": len(task.bad_rows),
            "without_answer": len(task.unscorable),
            "unscorable": [f"{key}: {reason}" for key, reason in list(task.unscorable.items())[:20]],
        }
        for name, task in tasks.items()
    }


def overlap_findings(recipe: EvalRecipe, asked: Sequence[RowRequest], rows: Mapping[str, list[Row]]) -> dict[str, Any]:
    """Flag rows whose image is in the recipe's training set; returns how many images are, and how they were found."""
    if recipe.training_set is None:
        return {}
    files = {
        key: file
        for entry in asked
        if entry.request
        for key, file in zip(entry.image_keys, entry.image_files, strict=True)
    }
    touched = touched_images(recipe.training_set, files)
    for listed in rows.values():
        flag_overlap(listed, touched)
    ways = list(touched.values())
    found = {
        "training_set": str(recipe.training_set), "images": len(files), "touched": len(ways),
        "by_bytes": ways.count("bytes"), "by_look": ways.count("look"),
    }  # fmt: skip
    return {"contamination": found}


def batch_findings(
    recipe: EvalRecipe,
    backend: Backend,
    asked: Sequence[RowRequest],
    replies: Mapping[str, Reply],
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Compare some answers with batches of one, unless a finished run of the same model, rows and batches did so."""
    if recipe.check_batch is None:
        return {}
    chosen = draw_requests(distinct_requests(asked), recipe.check_batch, recipe.seed)
    before = _checked_before(recipe, inputs)
    return {"batch_check": before or compare_batches(backend, recipe, chosen, replies, ids_of(asked))}


def _checked_before(recipe: EvalRecipe, inputs: Mapping[str, str]) -> dict[str, Any] | None:
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


def fingerprint(recipe: EvalRecipe, tasks: Mapping[str, Task], identity: str) -> dict[str, str]:
    """Digests of all that a run depends on; equal ones mean that a finished run is up to date.

    They are those of the model, of each task's settings, rows and image files, of metrics that are code, and of the
    recipe's folders.
    """
    return {"model": identity, **_task_inputs(tasks), **_code_inputs(tasks), **_folder_inputs(recipe)}


def _code_inputs(tasks: Mapping[str, Task]) -> dict[str, str]:
    names = {settings.metric or "" for task in tasks.values() for settings in task.spec.metrics.values()}
    return {f"metric {name}": code_digest(name) or "by its name" for name in sorted(names) if is_own(name)}


def _task_inputs(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Image files count by path, size and time of change."""
    inputs = {}
    for name, task in tasks.items():
        images = sorted({path for row in task.rows for path in row.images})
        files = [[path, *_stat(task.image_root / path)] for path in images]
        rows = [
            [row.sample_id, row.system, [*row.earlier, row.prompt], list(row.references), list(row.images)]
            for row in task.rows
        ]
        inputs[f"task {name}"] = digest_of({"spec": task.spec.to_json(), "rows": rows, "images": files})
    return inputs


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _folder_inputs(recipe: EvalRecipe) -> dict[str, str]:
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
