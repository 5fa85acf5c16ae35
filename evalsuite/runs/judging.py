"""The judge's part of a run: opened before the first question, asked when the answers are in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.analysis.results import FINISH
from evalsuite.check import Finding
from evalsuite.check.findings import Level
from evalsuite.judge.ask import ask_judge, judge_requests
from evalsuite.judge.backend import Judge, open_judges
from evalsuite.judge.judgements import Judgement, stored_verdicts
from evalsuite.judge.settings import with_model
from evalsuite.metrics.base import Row
from evalsuite.recipe import EvalRecipe
from evalsuite.store import PREDICTIONS
from evalsuite.tasks.load import Task
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.rows.records import majority
from winnow.run import read_manifest

_CHARACTERS = 4  # of a token, in English


def judges_of(recipe: EvalRecipe, specs: Mapping[str, TaskSpec]) -> dict[str, Judge]:
    """The judges of the tasks that have one. A server that does not answer yet is only warned about.

    Raises:
        UserError: a judge cannot work, or the recipe names one and no task has a rubric.
    """
    settings = {name: with_model(spec.judge, recipe.judge) for name, spec in specs.items() if spec.judge is not None}
    if recipe.judge is not None and not settings:
        raise UserError("the recipe names a judge, but no task has a `judge:`, which names its rubric")
    judges = open_judges(recipe.folder, settings)
    for reason in {judge.why_not for judge in judges.values() if judge.backend is None}:
        print(f"warning: the judge does not answer: {reason}; it is needed once the answers are in", file=sys.stderr)
    return judges


def judge_findings(judges: Mapping[str, Judge], tasks: Mapping[str, Task]) -> list[Finding]:
    """What is known of the judging before anything is asked: what it costs, and rows that cannot be judged.

    References stand for the replies.

    Raises:
        UserError: the evaluation to compare with is not finished, or is none of the task.
    """
    found = []
    for name, judge in judges.items():
        rows = [_stand_in(row) for row in tasks[name].rows]
        asked = list(judge_requests(judge.settings, name, rows, lambda prompt, *_: (prompt, None), ""))
        rubric = judge.settings.rubric
        lost: dict[str, list[str]] = {}
        for entry in asked:
            if entry.error:
                lost.setdefault(entry.error, []).append(entry.sample_id)
        for error, ids in lost.items():
            level: Level = "error" if len(ids) >= len(rows) else "warning"
            found.append(Finding(level, name, f"the judge cannot be asked: {error}", "", len(ids), tuple(ids[:3])))
        times = [len(entry.chat) for entry in asked if not entry.error]
        if times:
            label = judge.backend.label if judge.backend else "the judge, which does not answer now,"
            each = round(sum(times) / len(times) / _CHARACTERS)
            often = f"up to {len(times):,} times by the rubric {rubric.name}, about {each:,} tokens each"
            what = f"{label} will be asked as judge {often}"
            found.append(Finding("note", name, what, ""))
    return found


def probe_judges(folder: Path, judges: Mapping[str, Judge], tasks: Mapping[str, Task]) -> list[Finding]:
    """What the judges do not take, found with one question to each, unless one was answered in this folder before.

    The first row's reference stands for its reply.
    """
    found: list[Finding] = []
    if stored_verdicts(folder):
        return found
    probed = set()
    for name, judge in judges.items():
        backend = judge.backend
        if backend is None or not backend.reachable or backend.identity in probed:
            continue
        probed.add(backend.identity)
        rows = [_stand_in(row) for row in tasks[name].rows]
        asked = judge_requests(judge.settings, name, rows, backend.renderer(), backend.identity)
        first = next((entry.request for entry in asked if entry.request), None)
        probe = backend.probe([first] if first else [])
        for one in probe.findings:
            found.append(Finding("error" if one.fatal else "warning", name, f"the judge at {one.message}", ""))
    return found


def _stand_in(row: TaskRow) -> Row:
    """A row whose reply is its reference."""
    return {
        "sample_id": row.sample_id, "question": row.question, "references": row.references, "choices": row.choices,
        "facts": row.facts, "raw": majority(row.references), "finish_reason": "stop",
    }  # fmt: skip


def judge_inputs(judges: Mapping[str, Judge]) -> dict[str, str]:
    """Digests of the judges, and of the evaluations whose replies they compare with."""
    inputs = {}
    for task, judge in judges.items():
        inputs[f"judge of {task}"] = judge.backend.identity if judge.backend else "unknown"
        if judge.settings.against is not None:
            file = judge.settings.against / PREDICTIONS
            inputs[f"against, {task}"] = sha256_file(file) if file.is_file() else "missing"
    return inputs


def judged_again(folder: Path, judges: Mapping[str, Judge]) -> bool:
    """Whether a finished run has questions that never reached a judge which can be asked now."""
    kept = read_manifest(folder, finish_with=FINISH).get("judges") or {}
    return any(
        judge.backend is not None and judge.backend.reachable and kept.get(task, {}).get("failed")
        for task, judge in judges.items()
    )


def judge_answers(
    folder: Path, specs: Mapping[str, TaskSpec], judges: Mapping[str, Judge], rows: Mapping[str, Sequence[Row]]
) -> dict[str, list[Judgement]]:
    """What the judges say of every row, by task; only what is not stored is asked.

    Raises:
        UserError: a judge cannot be asked; the answers, and what it said so far, are stored.
    """
    found = {}
    for task, judge in judges.items():
        try:
            if judge.backend is None:
                raise UserError(judge.why_not)
            stop = specs[task].generation.stop
            found[task] = ask_judge(folder, judge.backend, judge.settings, task, rows[task], stop)
        except UserError as error:
            raise UserError(
                f"judge of task {task}: {error}; the answers are stored in {folder}, with the verdicts so far: run the "
                "same command again when the judge works, and only the judge is asked"
            ) from error
    return found


def judge_facts(judges: Mapping[str, Judge], judgements: Mapping[str, Sequence[Judgement]]) -> dict[str, Any]:
    """What the manifest keeps of the judges, by task."""
    return {task: judges[task].facts(sum(one.retry for one in listed)) for task, listed in judgements.items()}
