"""An evaluation, step by step: ask, read, score, compare, report. Rerunning does what is missing.

From requests to replies that survive ``kill -9``, and which of them may be used again.

A server may say something else another time (it was busy, it filtered, it was restarted), so what is no
answer is never kept: failed, refused, truncated and unparsed rows are asked again by the next run. A model
on this machine decodes greedily, and a request's key holds all that decides its words: asked again it would
say the same. Of it everything but failures is kept, so that a run that was killed loses nothing.

What a run depends on, as digests: equal ones mean that a finished run is up to date.

What a run finds out about itself: rows that show training images, answers that depend on the batch.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.analysis.compare import check_baseline
from evalsuite.analysis.corrected import corrections_digest
from evalsuite.analysis.overlap import mark, touched_images
from evalsuite.analysis.results import FINISH, STAGE
from evalsuite.backends import Reply
from evalsuite.backends.choice import Backend, choose
from evalsuite.metrics.base import Row
from evalsuite.recipe import EvalRecipe
from evalsuite.runs.batch_check import compare_batches, draw, ids_of
from evalsuite.runs.finish import Evaluation, finish, read_scores
from evalsuite.runs.requests import Asked, build_requests, distinct_requests, hash_images, to_row
from evalsuite.runs.store import PREDICTIONS, stored_replies, write_part
from evalsuite.tasks.extract import STATUSES, Status, read_answer
from evalsuite.tasks.load import Task, load_task
from evalsuite.tasks.spec import TaskSpec, dumped, load_spec
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.progress import Bar
from winnow.recipe import load_recipe
from winnow.run import MANIFEST, is_current, read_manifest

_CHECKED = {"model", "server", "tasks", "limit", "batch_size", "seed", "check_batch"}


def find_overlap(recipe: EvalRecipe, asked: Sequence[Asked], rows: Mapping[str, list[Row]]) -> dict[str, Any]:
    """Mark rows whose image is in the recipe's training set; returns how many images are, and by what."""
    if recipe.training_set is None:
        return {}
    files = {
        key: file
        for entry in asked
        if entry.request
        for key, file in zip(entry.request.image_keys, entry.request.images, strict=True)
    }
    touched = touched_images(recipe.training_set, files)
    for listed in rows.values():
        mark(listed, touched)
    ways = list(touched.values())
    found = {
        "training_set": str(recipe.training_set), "images": len(files), "touched": len(ways),
        "by_bytes": ways.count("bytes"), "by_look": ways.count("look"),
    }  # fmt: skip
    return {"contamination": found}


def check_answers(
    recipe: EvalRecipe,
    backend: Backend,
    asked: Sequence[Asked],
    replies: Mapping[str, Reply],
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Compare some answers with batches of one, unless a finished run of the same model, rows and batches did."""
    if recipe.check_batch is None:
        return {}
    chosen = draw(distinct_requests(asked), recipe.check_batch, recipe.seed)
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


def inputs_of(recipe: EvalRecipe, tasks: Mapping[str, Task], identity: str) -> dict[str, str]:
    """Digests of the model, of each task's settings, rows and image files, and of the folders the recipe names."""
    return {"model": identity, **_task_inputs(tasks), **_folder_inputs(recipe)}


def _task_inputs(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Image files count by path, size and time of change."""
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


def collect_replies(folder: Path, backend: Backend, asked: Sequence[Asked], replies: dict[str, Reply]) -> None:
    """Fill ``replies`` by request key: those on disk, and the model's for the rest, written as they come.

    The model is loaded only if something is missing. What may not be used again is in ``replies``, but never
    on disk. When the model is interrupted, ``replies`` holds what was kept.
    """
    requests = distinct_requests(asked)
    may_keep = _keeper(backend, asked)
    replies.update(_kept(folder, may_keep))
    missing = sum(request.key not in replies for request in requests)
    if not missing:
        return
    before = frozenset(replies)
    try:
        with Bar("asking the model", len(requests)) as bar:
            bar.advance(len(requests) - missing)
            for part in backend.replies(requests, before.__contains__, None):
                if kept := [reply for reply in part if may_keep(reply)]:
                    write_part(folder, kept)
                bar.advance(sum(reply.key not in before for reply in part))
                replies.update({reply.key: reply for reply in part})
    except KeyboardInterrupt:
        replies.update(_kept(folder, may_keep))  # a part may have been written just before
        raise


def _kept(folder: Path, may_keep: Callable[[Reply], bool]) -> dict[str, Reply]:
    return {key: reply for key, reply in stored_replies(folder).items() if may_keep(reply)}


def _keeper(backend: Backend, asked: Sequence[Asked]) -> Callable[[Reply], bool]:
    """Whether a reply may be used again."""
    if backend.repeatable:
        return lambda reply: reply.finish_reason != "error"
    status = _status_reader(asked)
    return lambda reply: status(reply) == "ok"


def _status_reader(asked: Sequence[Asked]) -> Callable[[Reply], Status | None]:
    """What a reply is to the rows that asked for it: ``ok`` if it answers all of them; None if none asked."""
    askers: dict[str, list[Asked]] = {}
    for entry in asked:
        if entry.request:
            askers.setdefault(entry.request.key, []).append(entry)

    def status(reply: Reply) -> Status | None:
        found = [
            read_answer(reply.raw, reply.finish_reason, entry.extraction, entry.row.choices)[1]
            for entry in askers.get(reply.key, ())
        ]
        return next((one for one in found if one != "ok"), "ok" if found else None)

    return status


def without_answer(asked: Sequence[Asked], replies: Mapping[str, Reply]) -> dict[str, int]:
    """Status → number of requests whose reply is no answer, only statuses that occur."""
    status = _status_reader(asked)
    counted = Counter(status(reply) for reply in replies.values())
    return {name: counted[name] for name in STATUSES if name != "ok" and counted[name]}


_VERSION = 4  # raise it when scoring or reports change, so that finished runs are scored anew


def run_recipe(path: Path, *, limit: int | None = None) -> tuple[Path, dict[str, Any], bool]:
    """Run the recipe in ``path``. Returns the folder, its scores, and whether anything was done.

    A finished run is left as it is if nothing has changed, but for rows that got no answer from a server
    (``evalsuite.runs.run``). Stopped with Ctrl-C while the model is asked, it scores what was answered; then
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
