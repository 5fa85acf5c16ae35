"""Two evaluations side by side, on the rows that both of them answered questions about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from curate.config import parse_recipe
from curate.errors import UserError
from curate.manifest import read_manifest
from evalsuite.results import Row, TaskResult, score_rows, slice_masks
from evalsuite.scoring import Column
from evalsuite.statistics import mcnemar, paired_difference
from evalsuite.store import read_predictions
from evalsuite.task import TaskSpec

STAGE = "evalsuite"
_LISTED = 100
FINISH = "evalsuite run RECIPE"


def compare_folders(a: Path, b: Path, seed: int = 0) -> dict[str, Any]:
    """``comparison`` of two finished evaluations, B minus A.

    Raises:
        UserError: a folder is no finished evaluation, or they share no task or no row.
    """
    specs, rows = load_evaluation(b)
    return compare(a, rows, specs, seed)


def load_evaluation(folder: Path) -> tuple[dict[str, TaskSpec], dict[str, list[Row]]]:
    """The task specs and the rows of a finished evaluation, by task.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    manifest = read_manifest(folder, finish_with=FINISH)
    if manifest.get("stage") != STAGE or not isinstance(manifest.get("task_specs"), list):
        raise UserError(f"{folder}: is no evaluation (its manifest says {manifest.get('stage')!r})")
    parsed = [parse_recipe(spec, TaskSpec, where=f"{folder}: task in its manifest") for spec in manifest["task_specs"]]
    specs = {spec.name: spec for spec in parsed}
    rows: dict[str, list[Row]] = {name: [] for name in specs}
    for row in read_predictions(folder).to_pylist():
        rows.setdefault(row["task"], []).append(row)
    return specs, rows


def check_baseline(baseline: Path, specs: Mapping[str, TaskSpec]) -> None:
    """Refuse a baseline that cannot be compared, before a model is asked.

    Raises:
        UserError: the folder is no finished evaluation, or holds none of these tasks.
    """
    before, _ = load_evaluation(baseline)
    if not before.keys() & specs.keys():
        raise UserError(f"{baseline}: shares no task with this evaluation; it has {', '.join(before)}")


def compare(
    baseline: Path, rows: Mapping[str, Sequence[Row]], specs: Mapping[str, TaskSpec], seed: int
) -> dict[str, Any]:
    """Compare the rows of a new evaluation (B) with the evaluation in folder ``baseline`` (A).

    Only rows with the same id, images and references in both are compared; the others are counted.
    Both sides are scored anew on those rows, with the task settings of B.
    """
    check_baseline(baseline, specs)
    _, before = load_evaluation(baseline)
    shared = [name for name in specs if name in before]
    tasks = {name: _compare_task(specs[name], before[name], rows[name], seed) for name in shared}
    return {"baseline": str(baseline), "tasks": {name: entry for name, entry in tasks.items() if entry}}


def _compare_task(spec: TaskSpec, a: Sequence[Row], b: Sequence[Row], seed: int) -> dict[str, Any] | None:
    old = {row["sample_id"]: row for row in a}
    met = [row for row in b if row["sample_id"] in old]
    same = [row for row in met if _question(row) == _question(old[row["sample_id"]])]
    if not same:
        return None
    first = score_rows(spec, [old[row["sample_id"]] for row in same])
    second = score_rows(spec, same)
    masks = slice_masks(second.rows, spec.slices)
    metrics = {}
    slices: dict[str, dict[str, Any]] = {
        name: {value: {"n": int(mask.sum())} for value, mask in values.items()} for name, values in masks.items()
    }
    for one, two in zip(first.columns, second.columns, strict=True):
        metrics[one.name] = _difference(one, two, None, second, seed)
        for name, values in masks.items():
            for value, mask in values.items():
                slices[name][value][one.name] = _difference(one, two, mask, second, seed)
    return {
        "n": len(same),
        "only_in_a": len(old) - len(met),
        "only_in_b": len(b) - len(met),
        "changed": len(met) - len(same),
        "metrics": metrics,
        "slices": slices,
        **_wins(first, second),
    }


def _question(row: Row) -> tuple[Any, ...]:
    return tuple(row["image_keys"]), row["question"], tuple(row["references"])


def _difference(a: Column, b: Column, mask: np.ndarray | None, result: TaskResult, seed: int) -> dict[str, Any]:
    chosen = slice(None) if mask is None else mask
    one, two, clusters = a.sums[chosen], b.sums[chosen], result.clusters[chosen]
    found = paired_difference(one, two, clusters, a.estimate, seed=seed)
    test = mcnemar(a.per_row[chosen] > 0.5, b.per_row[chosen] > 0.5) if a.binary and b.binary else None
    return {
        "a": float(a.estimate(one.sum(0, keepdims=True))[0]),
        "b": float(b.estimate(two.sum(0, keepdims=True))[0]),
        "difference": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "p": found.p,
        "n": found.n,
        "images": found.clusters,
        "mcnemar": asdict(test) if test else None,
    }


def _wins(first: TaskResult, second: TaskResult) -> dict[str, Any]:
    """Ids of rows that B does better and worse on the headline metric, largest change first."""
    change = second.headline.per_row - first.headline.per_row
    ids = [row["sample_id"] for row in second.rows]
    order = np.argsort(-np.abs(change), kind="stable")
    better = [ids[i] for i in order if change[i] > 0]
    worse = [ids[i] for i in order if change[i] < 0]
    listed = {*better[:_LISTED], *worse[:_LISTED]}
    return {
        "better": len(better),
        "worse": len(worse),
        "better_ids": better[:_LISTED],
        "worse_ids": worse[:_LISTED],
        "answers_before": {row["sample_id"]: row["raw"] for row in first.rows if row["sample_id"] in listed},
    }
