"""Before a run: its tasks are checked and, by ``evalsuite check``, a few of their questions are asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from evalsuite.backends import Backend, Reply
from evalsuite.check import (
    CheckReport,
    Finding,
    Prompt,
    check_code,
    check_images,
    check_rows,
    check_settings,
    trial_findings,
    trial_of,
)
from evalsuite.metrics.own import allowing_code
from evalsuite.recipe import EvalRecipe
from evalsuite.runs.judging import judge_findings, judges_of, probe_judges
from evalsuite.runs.requests import RowRequest, build_requests, distinct_requests, hash_images, select_backend
from evalsuite.runs.tasks import limit_of, specs_of
from evalsuite.store import stored_replies
from evalsuite.tasks.load import Task, load_task
from winnow.errors import UserError
from winnow.progress import Bar
from winnow.recipe import load_recipe

_PROMPTS = 3


def check_recipe(path: Path, sample: int) -> CheckReport:
    """Check everything that a run of the recipe depends on. Nothing is written.

    Args:
        sample: rows of each task to ask; 0 asks nothing.

    Raises:
        UserError: recipe, task, data or model is missing, or the server cannot be reached.
    """
    recipe = load_recipe(path, EvalRecipe)
    backend = select_backend(recipe)
    tasks, findings = _loaded(recipe)
    findings += find_trouble(recipe, tasks)
    judges = judges_of(recipe, {name: task.spec for name, task in tasks.items()})
    findings += judge_findings(judges, tasks)
    render, known = backend.renderer(), stored_replies(recipe.folder)
    asked = {name: build_requests(task, hash_images(task), render, backend.identity) for name, task in tasks.items()}
    broken = {finding.task for finding in findings if finding.level == "error"}
    if sample:
        findings += probe_judges(recipe.folder, judges, tasks)
        probed = _probed(backend, [entry for name in asked if name not in broken for entry in asked[name]])
        broken |= {name for name in asked if any(finding.level == "error" for finding in probed)}
        findings += probed
    prompts, trials, requests = [], [], {}
    for name, task in tasks.items():
        later = sum(bool(row.earlier) for row in task.rows)  # turns of conversations, which depend on what is answered
        requests[name] = later + sum(request.key not in known for request in distinct_requests(asked[name]))
        drawn = _draw(asked[name], max(sample, _PROMPTS), recipe.seed)
        for entry in drawn[:_PROMPTS]:
            images = () if task.spec.blind else entry.row.images
            prompts.append(Prompt(name, entry.row.sample_id, entry.chat, images))
        if tried := drawn[: 0 if name in broken else sample]:
            replies = _replies(backend, tried, name)
            with allowing_code(recipe.allow_code):
                trial = trial_of(task.spec, requests[name], [(entry.row, replies[_key(entry)]) for entry in tried])
            trials.append(trial)
            findings += trial_findings(trial)
        findings += [Finding("note", name, note, "") for note in task.notes]
    return CheckReport(
        name=recipe.name,
        model=backend.label,
        rows={name: len(task.rows) for name, task in tasks.items()},
        requests=requests,
        findings=findings,
        prompts=prompts,
        trials=trials,
        at_a_time=recipe.server.max_concurrency if recipe.server else 1,
    )


def _loaded(recipe: EvalRecipe) -> tuple[dict[str, Task], list[Finding]]:
    """The tasks that can be loaded, and why others cannot."""
    tasks: dict[str, Task] = {}
    findings: list[Finding] = []
    for name, spec in specs_of(recipe).items():
        try:
            tasks[name] = load_task(spec, limit=limit_of(recipe, name), seed=recipe.seed)
        except UserError as error:
            findings.append(Finding("error", name, str(error).removeprefix(f"task {name}: "), ""))
    return tasks, findings


def find_trouble(recipe: EvalRecipe, tasks: Mapping[str, Task]) -> list[Finding]:
    """What can be found without asking anything, task by task."""
    count_tokens = _token_counter(recipe)
    found: list[Finding] = []
    for task in tasks.values():
        found += check_settings(task.spec)
        found += check_code(task.spec, allowed=recipe.allow_code)
        found += check_images(task, recipe.seed)
        found += check_rows(task, count_tokens)
    return found


def refuse_errors(path: Path, findings: Sequence[Finding]) -> None:
    """Stop a run that would score nothing sensible.

    Raises:
        UserError: there is an error among the findings.
    """
    errors = [finding.sentence() for finding in findings if finding.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: `evalsuite check {path}`)" if len(errors) > 1 else ""
        raise UserError(f"{path}: nothing was asked: {errors[0]}{more}")


def _token_counter(recipe: EvalRecipe) -> Callable[[str], int] | None:
    """Counts tokens as this machine's model does; of a server it is not known how."""
    settings = recipe.model
    if settings is None:
        return None

    @cache
    def tokenizer() -> Any:
        from evalsuite.backends.model import load_processor

        return load_processor(settings).tokenizer

    return lambda text: len(tokenizer()(text, add_special_tokens=False)["input_ids"])


def _probed(backend: Backend, asked: Sequence[RowRequest]) -> list[Finding]:
    """What the model does not take, found with one request of each kind."""
    kinds = {request.kind: request for request in reversed(distinct_requests(asked))}
    probe = backend.probe(list(kinds.values()))
    return [Finding("error" if found.fatal else "warning", "", found.message, "") for found in probe.findings]


def _draw(asked: Sequence[RowRequest], count: int, seed: int) -> list[RowRequest]:
    """Rows that can be asked, with different requests, drawn at random."""
    entries = list({entry.request.key: entry for entry in asked if entry.request}.values())
    return random.Random(seed).sample(entries, min(count, len(entries)))


def _key(entry: RowRequest) -> str:
    assert entry.request is not None
    return entry.request.key


def _replies(backend: Backend, entries: Sequence[RowRequest], label: str) -> dict[str, Reply]:
    requests = [entry.request for entry in entries if entry.request]
    replies: dict[str, Reply] = {}
    with Bar(f"{label}: trying", len(requests)) as bar:
        for part in backend.replies(requests, lambda key: False, None):
            replies.update({reply.key: reply for reply in part})
            bar.advance(len(part))
    return replies
