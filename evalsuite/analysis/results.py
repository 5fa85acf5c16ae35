"""Answers read and scored: one ``TaskResult`` a task, its entry in ``scores.json``, and finished evaluations loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evalsuite.metrics.base import Answers, MetricColumn, Row
from evalsuite.reading.read import STATUSES, read_answer
from evalsuite.statistics import Floats, Interval, cluster_codes, exact_when_unanimous, intervals
from evalsuite.store import BASE_SCHEMA, base_id, read_predictions
from evalsuite.tasks.spec import TaskSpec, score
from winnow.errors import UserError
from winnow.images import DEFAULT_MAX_BYTES, locate
from winnow.recipe import parse_recipe
from winnow.run import read_manifest

SLICE = "slice_"  # begins the names of slice columns
RIGHT = "_right"  # ends the name of the column that says which rows a metric calls right


@dataclass(frozen=True)
class TaskResult:
    """One task, scored.

    Attributes:
        rows: dictionaries with the columns of ``predictions.parquet``, in input order.
        columns: the metrics.
        clusters: (rows,) number of each row's image; rows with the same images belong together.
    """

    spec: TaskSpec
    rows: list[Row]
    columns: list[MetricColumn]
    clusters: np.ndarray

    @property
    def headline(self) -> MetricColumn:
        """The task's first metric."""
        return self.columns[0]


def score_rows(spec: TaskSpec, rows: Sequence[Row], image_root: Path | None = None) -> TaskResult:
    """Read the answers out of the raw replies and score them; the replies themselves are never changed.

    Args:
        image_root: where the rows' images lie, for metrics that look at them.

    Raises:
        UserError: a row has no references, or lacks what a metric needs.
    """
    read = []
    for row in rows:
        choices = row.get("choices") or ()
        answer = read_answer(row["raw"] or "", row["finish_reason"], spec.extraction, choices, spec.generation.stop)
        read.append({**row, "extracted": answer.answer, "status": answer.status, "truncated": answer.truncated})
    answers = Answers(
        ids=[row["sample_id"] for row in read],
        texts=[row["extracted"] for row in read],
        references=[row["references"] for row in read],
        raws=[row["raw"] or "" if row["status"] in ("ok", "unparsed") else None for row in read],
        choices=[row.get("choices") or () for row in read],
        slices=[{name: row.get(SLICE + name) or "" for name in spec.slice_names} for row in read],
        images=[" ".join(row["images"]) for row in read],
        groups=[row.get("group") or _base(row) for row in read],
        repeats=[row.get("repeat") or 0 for row in read],
        confidences=[row.get("confidence") for row in read],
        facts=[facts_of_row(row) for row in read],
        image_files=ImageFiles([row["images"] for row in read], image_root),
    )
    columns = score(answers, spec.metrics)
    for number, row in enumerate(read):
        for column in columns:
            row[column.name] = _finite(float(column.per_row[number]))
            row[column.name + RIGHT] = bool(column.right[number]) if np.isfinite(column.right[number]) else None
    clusters = cluster_codes([tuple(row["image_keys"]) or _base(row) for row in read])
    return TaskResult(spec, read, columns, clusters)


def _base(row: Row) -> str:
    return base_id(row["sample_id"], row.get("repeat"))


def facts_of_row(row: Row) -> dict[str, Any]:
    """The row's ``facts``; empty where it has none.

    Raises:
        UserError: they are no JSON object.
    """
    try:
        found = json.loads(row.get("facts") or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{row['sample_id']}: its facts are no JSON object; run the evaluation again")
    return found


class ImageFiles(Sequence[Sequence[str]]):
    """Absolute paths of each row's images, looked for when they are asked for; what is not there is left out."""

    def __init__(self, images: Sequence[Sequence[str]], root: Path | None) -> None:
        self._images, self._root = images, None if root is None else str(root.resolve())

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: Any) -> Any:
        if self._root is None:
            return ()
        found = (locate(path, self._root, max_bytes=DEFAULT_MAX_BYTES).file for path in self._images[row])
        return tuple(file for file in found if file)


def to_table(result: TaskResult) -> pa.Table:
    """The rows as an Arrow table in the column order of ``predictions.parquet``."""
    slices = sorted({key for row in result.rows for key in row if key.startswith(SLICE)})
    schema = pa.schema(
        [
            *BASE_SCHEMA,
            *((column.name, pa.float64()) for column in result.columns),
            *((column.name + RIGHT, pa.bool_()) for column in result.columns),
            *((name, pa.string()) for name in slices),
        ]
    )
    return pa.Table.from_pylist(result.rows, schema=schema)


def slice_masks(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Slice column → value → mask of its rows; values in alphabetical order, columns without values left out."""
    masks: dict[str, dict[str, np.ndarray]] = {}
    for key in keys:
        values = np.array([row.get(SLICE + key) or "" for row in rows])
        found = {value: values == value for value in sorted(set(values.tolist())) if value}
        if found:
            masks[SLICE + key] = found
    return masks


def summarise(result: TaskResult, seed: int) -> dict[str, Any]:
    """The task's entry in ``scores.json``: counts, statuses, metrics and slices with intervals."""
    n = len(result.rows)
    statuses = Counter(row["status"] for row in result.rows)
    answered = np.array([row["status"] == "ok" for row in result.rows])
    masks = slice_masks(result.rows, result.spec.slice_names)
    parts: list[tuple[Floats, Any, np.ndarray | None]] = []
    for column in result.columns:
        parts.append((column.sums, column.estimate, None))
        parts += [(column.sums, column.estimate, mask) for values in masks.values() for mask in values.values()]
    binary = [column.binary for column in result.columns for _ in range(len(parts) // len(result.columns))]
    found = iter(
        exact_when_unanimous(interval) if right_or_wrong else interval
        for interval, right_or_wrong in zip(intervals(parts, result.clusters, seed=seed), binary, strict=True)
    )
    metrics: dict[str, Any] = {}
    slices: dict[str, dict[str, Any]] = {
        name: {value: {"n": int(mask.sum()), "coverage": _share(answered[mask])} for value, mask in values.items()}
        for name, values in masks.items()
    }
    for column in result.columns:
        whole = next(found)
        metrics[column.name] = {
            **bounds(whole),
            "n": n,
            "images": whole.clusters,
            "coverage": _share(answered),
            "answered": _estimate(column, answered),
            "variant": column.variant,
            **facts_of(column),
        }
        for name, values in masks.items():
            for value in values:
                slices[name][value][column.name] = bounds(next(found))
    return {
        "n": n,
        "coverage": _share(answered),
        "statuses": {status: statuses[status] for status in STATUSES},
        "headline": result.headline.name,
        "metrics": metrics,
        "slices": slices,
    }


def facts_of(column: MetricColumn) -> dict[str, Any]:
    """What readers must know to show a score: ``title``, ``unit``, ``top`` and ``mean_of_rows``."""
    return {"title": column.title, "unit": column.unit, "top": column.top, "mean_of_rows": column.mean_of_rows}


def bounds(interval: Interval) -> dict[str, float | None]:
    """``value``, ``ci_low``, ``ci_high``."""
    return {"value": _finite(interval.value), "ci_low": interval.low, "ci_high": interval.high}


def _estimate(column: MetricColumn, mask: np.ndarray) -> float | None:
    """The metric on the answered rows; None if there are no such rows."""
    return _finite(float(column.estimate(column.sums[mask].sum(0, keepdims=True))[0])) if mask.any() else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if len(mask) else 0.0


def counts(results: Mapping[str, TaskResult]) -> dict[str, Any]:
    """Rows per status of every task, for the manifest."""
    return {
        name: dict(sorted(Counter(row["status"] for row in result.rows).items())) for name, result in results.items()
    }


STAGE = "evalsuite"
FINISH = "evalsuite run RECIPE"


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished evaluation.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    manifest = read_manifest(folder, finish_with=FINISH)
    if manifest.get("stage") != STAGE:
        raise UserError(f"{folder}: is no evaluation (its manifest says {manifest.get('stage')!r})")
    if not isinstance(manifest.get("task_specs"), list):
        raise UserError(f"{folder}: was made by another version of Winnow; bring it up to date with `{FINISH}`")
    return manifest


def load_evaluation(folder: Path) -> tuple[dict[str, TaskSpec], dict[str, list[Row]]]:
    """The task specs and the rows of a finished evaluation, by task.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    specs = load_specs(folder, load_manifest(folder))
    rows: dict[str, list[Row]] = {name: [] for name in specs}
    for row in read_predictions(folder).to_pylist():
        rows.setdefault(row["task"], []).append(row)
    return specs, rows


def load_specs(folder: Path, manifest: dict[str, Any]) -> dict[str, TaskSpec]:
    """The tasks that an evaluation was made with, by name."""
    parsed = [parse_recipe(spec, TaskSpec, where=f"{folder}: task in its manifest") for spec in manifest["task_specs"]]
    return {spec.name: spec for spec in parsed}
