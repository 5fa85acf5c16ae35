"""From answered rows to everything that an evaluation leaves: scores, predictions, reports, and last the manifest."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from evalsuite.analysis.compare import ComparedRun, compare, load_run
from evalsuite.analysis.corrected import corrected_scores, decided_rows, what_became
from evalsuite.analysis.judged import judge_summary, with_verdicts
from evalsuite.analysis.overlap import overlap_scores
from evalsuite.analysis.readings import with_readings
from evalsuite.analysis.results import (
    FINISH,
    STAGE,
    TaskResult,
    counts,
    load_evaluation,
    load_manifest,
    predictions_of,
    score_rows,
    summarise,
)
from evalsuite.analysis.rows import rows_of
from evalsuite.analysis.slices import MIN_ROWS, NOTED_Q, rank_slices
from evalsuite.judge.judgements import JUDGEMENTS, Judgement, read_judgements, write_judgements
from evalsuite.metrics.base import Row
from evalsuite.report.html import html_report
from evalsuite.report.markdown import markdown_report
from evalsuite.statistics import LEVEL
from evalsuite.store import PREDICTIONS, TIMINGS, predictions_schema, remove_parts, write_predictions, write_timings
from evalsuite.tasks.spec import TaskSpec, dumped, load_spec, side_by_side
from winnow.corrections import read_corrections, resolve
from winnow.errors import UserError
from winnow.files import atomic_path, strict_json
from winnow.remote.addresses import local
from winnow.run import MANIFEST, write_manifest

SCORES = "scores.json"
REPORTS = ("report.md", "report.html")
CORRECTIONS = "corrections.json"  # what became of each reviewer's line
_OUTPUTS = (PREDICTIONS, TIMINGS, SCORES, *REPORTS, JUDGEMENTS, CORRECTIONS)
_SLICES = 10
_MIN_EXCESS = 1.0  # excess errors from which on a slice is reported


@dataclass(frozen=True)
class UnscoredRun:
    """Answers of a model to all tasks, not yet scored.

    Attributes:
        label: the model, as reports name it.
        rows: per task the rows of ``predictions.parquet`` without what scoring adds; those of a model that was asked
            have ``seconds``.
        baseline: an earlier evaluation folder to compare with.
        corrections: folder of reviewers' decisions.
        findings: what the run found about itself: ``check``, ``contamination``, ``batch_check`` and ``again``.
        judgements: what judges said, by task; ``extra["judges"]`` names them.
        recipe, inputs, extra, seconds: for the manifest.
        partial: ``{"rows": scored, "of": all}`` when the run was stopped before its end.
    """

    name: str
    label: str
    specs: Mapping[str, TaskSpec]
    rows: Mapping[str, Sequence[Row]]
    seed: int
    baseline: Path | None
    recipe: dict[str, Any]
    inputs: dict[str, str]
    extra: dict[str, Any]
    seconds: dict[str, float]
    corrections: Path | None = None
    findings: dict[str, Any] = field(default_factory=dict)
    judgements: Mapping[str, Sequence[Judgement]] = field(default_factory=dict)
    partial: dict[str, int] | None = None


def finish(folder: Path, unscored: UnscoredRun) -> dict[str, Any]:
    """Score, compare and write every output. Returns the content of ``scores.json``."""
    started = time.monotonic()
    specs, seed, extra = unscored.specs, unscored.seed, unscored.extra
    roots = {task: local(root) for task, root in extra["image_root"].items()}
    judged = {task: listed for task, listed in unscored.judgements.items() if specs[task].judge is not None}
    judges = {task: facts["label"] for task, facts in extra.get("judges", {}).items()}
    rows = {task: rows_of(unscored.rows[task]) for task in specs}
    rows |= {task: with_verdicts(specs[task], rows[task], listed, judges[task]) for task, listed in judged.items()}
    results = {task: score_rows(spec, rows[task], roots.get(task)) for task, spec in specs.items()}
    lines = read_corrections(unscored.corrections) if unscored.corrections else []
    resolved = resolve(lines)
    decided = {task: decided_rows(result, resolved) for task, result in results.items()}
    tasks = {
        task: {
            **with_readings(summarise(result, seed), result, seed),
            "notes": extra.get("notes", {}).get(task, []),
            "contamination": overlap_scores(result, seed),
            "corrected": corrected_scores(result, decided[task], seed),
            "judge": judge_summary(result, judged[task], judges[task], resolved, seed) if task in judged else None,
            "worst_slices": _worst_slices(result, unscored.findings),
        }
        for task, result in results.items()
    }
    scores: dict[str, Any] = {
        "name": unscored.name,
        "model": unscored.label,
        "level": LEVEL,
        "partial": unscored.partial,
        "contamination": unscored.findings.get("contamination"),
        "batch_check": unscored.findings.get("batch_check"),
        "check": unscored.findings.get("check", []),
        "again": unscored.findings.get("again"),
        "tasks": tasks,
        "comparison": _compared(unscored, results),
    }
    parts = [predictions_of(result) for result in results.values()]
    schema = predictions_schema([schema for schema, _ in parts])
    texts = {
        SCORES: strict_json(scores, indent=2) + "\n",  # headline metrics stay first
        "report.md": markdown_report(scores, extra["skipped"]),
        "report.html": html_report(scores, results, roots, extra["skipped"]),
    }
    if unscored.corrections:
        became = what_became(lines, resolved, chain(*(rows.values() for rows in decided.values())))
        texts[CORRECTIONS] = strict_json(became, indent=2) + "\n"
    with ExitStack() as written:  # everything is on disk before the first file takes its place
        target = {name: written.enter_context(atomic_path(folder / name)) for name in (PREDICTIONS, *texts)}
        write_predictions(target[PREDICTIONS], schema, chain(*(tables for _, tables in parts)))
        for name, text in texts.items():
            target[name].write_text(text, encoding="utf-8")
        if timed := [listed for listed in rows.values() if "seconds" in listed.schema.names]:
            write_timings(written.enter_context(atomic_path(folder / TIMINGS)), chain(*timed))
        (folder / MANIFEST).unlink(missing_ok=True)  # while outputs change there is no result
    if not unscored.corrections:
        (folder / CORRECTIONS).unlink(missing_ok=True)
    if judged:
        write_judgements(folder, chain(*judged.values()))
    if unscored.partial:
        return scores
    remove_parts(folder)
    write_manifest(
        folder,
        stage=STAGE,
        recipe=unscored.recipe,
        inputs=unscored.inputs,
        outputs=[folder / file for file in _OUTPUTS if (folder / file).is_file()],
        counts=counts(results),
        seconds={**unscored.seconds, "score": time.monotonic() - started},
        seeds={"seed": seed},
        extra={**extra, "findings": unscored.findings},
    )
    return scores


def _worst_slices(result: TaskResult, findings: Mapping[str, Any]) -> dict[str, Any]:
    """The slices with most excess errors: at least one, and more than chance explains."""
    training_set = (findings.get("contamination") or {}).get("training_set")
    ranked = rank_slices(result, Path(training_set) if training_set else None, MIN_ROWS)
    worse = [entry for entry in ranked["slices"] if entry["excess"] >= _MIN_EXCESS and entry["q"] < NOTED_Q]
    return {**ranked, "slices": worse[:_SLICES]}


def _compared(unscored: UnscoredRun, results: Mapping[str, TaskResult]) -> dict[str, Any] | None:
    """This run against its baseline."""
    if unscored.baseline is None:
        return None
    rows = {task: result.rows for task, result in results.items()}
    found = compare(load_run(unscored.baseline), [ComparedRun(unscored.name, unscored.specs, rows)], unscored.seed)
    return {"baseline": found["baseline"], "tests": found["tests"], "tasks": found["runs"][0]["tasks"]}


def read_scores(folder: Path) -> dict[str, Any]:
    """``scores.json`` of an unscored.

    Raises:
        UserError: it is missing, no JSON, or of a version that did not store what its numbers mean.
    """
    scores = _any_scores(folder)
    if any("unit" not in entry for task in scores["tasks"].values() for entry in task["metrics"].values()):
        raise UserError(
            f"{folder / SCORES}: was written by an older version of Winnow; bring it up to date with "
            f"`evalsuite score {folder}`"
        )
    return scores


def _any_scores(folder: Path) -> dict[str, Any]:
    path = folder / SCORES
    try:
        scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read; finish the run with `{FINISH}`") from error
    return scores


_KEPT = (
    "image_root", "skipped", "notes", "ask_again", "model_digest", "model_revision", "server_model", "server_facts",
    "judges",
)  # fmt: skip


def rescore(
    folder: Path, tasks: list[str], corrections: Path | None = None, variants: Sequence[str] = ()
) -> dict[str, Any]:
    """Score a finished evaluation again, without a model.

    Args:
        tasks: names or files of tasks whose extraction, metrics and slices are used instead of
            those the evaluation was made with.
        corrections: folder of reviewers' decisions, in place of the recipe's.
        variants: ``metric=variant``: further columns beside the metrics as the tasks have them.

    Raises:
        UserError: no finished evaluation, or a given task was not part of it.
    """
    specs, rows = load_evaluation(folder)
    manifest = load_manifest(folder)
    recipe, inputs = manifest["recipe"], dict(manifest["inputs"])
    for given in tasks:
        spec = load_spec(given)
        if spec.name not in specs:
            raise UserError(f"{folder}: holds no task {spec.name!r}; it has {', '.join(specs)}")
        # What was asked cannot change any more; how it is read and scored can.
        _check_judge(specs[spec.name], spec)
        read = {
            "extraction": spec.extraction, "metrics": spec.metrics, "slices": spec.slices, "judge": spec.judge,
        }  # fmt: skip
        specs[spec.name] = specs[spec.name].model_copy(update=read)
        inputs[f"task {spec.name}"] = f"scored with {given}"
    _check_variants(variants, specs)
    specs = {name: side_by_side(spec, variants) for name, spec in specs.items()}
    extra = {key: manifest[key] for key in _KEPT if key in manifest}
    extra["task_specs"] = dumped(specs)
    unscored = UnscoredRun(
        name=recipe["name"],
        label=_any_scores(folder)["model"],
        specs=specs,
        rows={name: rows[name] for name in specs},
        seed=recipe["seed"],
        baseline=Path(recipe["baseline"]) if recipe["baseline"] else None,
        recipe=recipe,
        inputs=inputs,
        extra=extra,
        seconds=manifest["seconds"],
        corrections=corrections or (Path(recipe["corrections"]) if recipe.get("corrections") else None),
        findings=manifest.get("findings", {}),
        judgements=read_judgements(folder),
    )
    return finish(folder, unscored)


def _check_judge(before: TaskSpec, now: TaskSpec) -> None:
    """A verdict can be read in another way, but not be that of another rubric."""
    if now.judge is not None:
        asked = None if before.judge is None else before.judge.rubric
        if asked is None or (asked.prompt, asked.system) != (now.judge.rubric.prompt, now.judge.rubric.system):
            raise UserError(
                f"task {now.name}: no judge was asked by the rubric {now.judge.rubric.name} as it is now; "
                f"`{FINISH}` asks it"
            )


def _check_variants(variants: Sequence[str], specs: Mapping[str, TaskSpec]) -> None:
    known = list(dict.fromkeys(name for spec in specs.values() for name in spec.metrics))
    for given in variants:
        if given.partition("=")[0] not in known:
            raise UserError(f"--variant {given}: no task here has that metric; they have {', '.join(known)}")
