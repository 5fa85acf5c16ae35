"""Everything a finished evaluation leaves behind, written in one place, the manifest last."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.atomic import write_text
from curate.errors import UserError
from curate.manifest import MANIFEST, write_manifest
from evalsuite.compare import FINISH, STAGE, compare
from evalsuite.report import write_reports
from evalsuite.results import Row, counts, score_rows, summarise, to_table
from evalsuite.statistics import LEVEL
from evalsuite.store import PREDICTIONS, remove_parts, write_predictions
from evalsuite.task import TaskSpec

SCORES = "scores.json"
REPORTS = ("report.md", "report.html")


@dataclass(frozen=True)
class Evaluation:
    """Answers of a model to all tasks, not yet scored.

    Attributes:
        label: the model, for people.
        rows: per task the rows of ``predictions.parquet`` without what scoring adds.
        baseline: an earlier evaluation folder to compare with.
        recipe, inputs, extra, seconds: for the manifest.
    """

    name: str
    label: str
    specs: Mapping[str, TaskSpec]
    rows: Mapping[str, list[Row]]
    seed: int
    baseline: Path | None
    recipe: dict[str, Any]
    inputs: dict[str, str]
    extra: dict[str, Any]
    seconds: dict[str, float]


def finish(folder: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Score, compare and write every output. Returns the content of ``scores.json``."""
    started = time.monotonic()
    specs, seed, extra = evaluation.specs, evaluation.seed, evaluation.extra
    results = {task: score_rows(spec, evaluation.rows[task]) for task, spec in specs.items()}
    compared = compare(evaluation.baseline, evaluation.rows, specs, seed) if evaluation.baseline else None
    scores: dict[str, Any] = {
        "name": evaluation.name,
        "model": evaluation.label,
        "level": LEVEL,
        "tasks": {task: summarise(result, seed) for task, result in results.items()},
        "comparison": compared,
    }
    (folder / MANIFEST).unlink(missing_ok=True)  # while outputs change there is no result
    write_predictions(folder, [to_table(result) for result in results.values()])
    write_text(folder / SCORES, json.dumps(scores, indent=2, ensure_ascii=False) + "\n")  # headline metrics stay first
    roots = {task: Path(root) for task, root in extra["image_root"].items()}
    write_reports(folder, scores, results, roots, extra["skipped"])
    remove_parts(folder)
    write_manifest(
        folder,
        stage=STAGE,
        recipe=evaluation.recipe,
        inputs=evaluation.inputs,
        outputs=[folder / file for file in (PREDICTIONS, SCORES, *REPORTS)],
        counts=counts(results),
        seconds={**evaluation.seconds, "score": time.monotonic() - started},
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
