"""Answers read and scored: one ``TaskResult`` a task, its entry in ``scores.json``, and finished evaluations loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evalsuite.analysis.rows import Mask, Rows, rows_of, stored_rows
from evalsuite.metrics.base import Answers, MetricColumn, Row
from evalsuite.reading.read import STATUSES, Extraction, ReadAnswer, read_answer
from evalsuite.statistics import (
    Floats,
    Ints,
    bounds,
    cluster_codes,
    exact_when_unanimous,
    finite,
    intervals,
    property_of,
)
from evalsuite.store import BASE_SCHEMA, SLICE, base_id
from evalsuite.tasks.spec import TaskSpec, score
from winnow.errors import UserError
from winnow.media.images import DEFAULT_MAX_BYTES
from winnow.media.locate import locate
from winnow.recipe import parse_recipe
from winnow.run import read_manifest

_REMEMBERED = 100_000  # replies that are not read twice …
_SHORT = 500  # … of at most this many characters, with their answers
_MOST_FAILURES = 3  # reasons why rows have no reply
RIGHT = "_right"  # ends the name of the column that says which rows a metric calls right


@dataclass(frozen=True)
class TaskResult:
    """One task, scored.

    Attributes:
        rows: the columns of ``predictions.parquet``, in input order.
        columns: the metrics.
        clusters: (rows,) number of each row's image; rows with the same images belong together.
        statuses: (rows,) places in ``STATUSES``.
        truncated: (rows,) whose reply was cut off.
        image_root: where the images lie, where that is known.
    """

    spec: TaskSpec
    rows: Rows
    columns: list[MetricColumn]
    clusters: Ints
    statuses: NDArray[np.int8]
    truncated: Mask
    image_root: Path | None = None

    @property
    def headline(self) -> MetricColumn:
        """The task's first metric."""
        return self.columns[0]

    @property
    def answered(self) -> Mask:
        """(rows,) with an answer."""
        return np.equal(self.statuses, STATUSES.index("ok"))

    @property
    def failed(self) -> Mask:
        """(rows,) to which no reply came."""
        return np.equal(self.statuses, STATUSES.index("failed"))

    @property
    def status_counts(self) -> dict[str, int]:
        """Rows of each status."""
        found = np.bincount(self.statuses, minlength=len(STATUSES)).tolist()
        return dict(zip(STATUSES, found, strict=True))


def score_rows(spec: TaskSpec, rows: Iterable[Row] | Rows, image_root: Path | None = None) -> TaskResult:
    """Read the answers out of the raw replies and score them; the replies themselves are never changed.

    Args:
        image_root: where the rows' images lie, for metrics that look at them.

    Raises:
        UserError: a row has no references, or lacks what a metric needs.
    """
    given = rows_of(rows)
    read = read_replies(given, spec, spec.extraction)
    scored = given.with_columns(read.columns())
    columns = score(answers_of(scored, spec, image_root), spec.metrics)
    marks = {column.name: pa.array(column.per_row, mask=~np.isfinite(column.per_row)) for column in columns}
    rights = {column.name + RIGHT: pa.array(column.right > 0, mask=~np.isfinite(column.right)) for column in columns}
    scored = scored.with_columns({**marks, **rights})
    return TaskResult(spec, scored, columns, _clusters(given), read.statuses, read.truncated, image_root)


@dataclass(frozen=True)
class ReadReplies:
    """What was read from the replies of a task, (rows,) each.

    Attributes:
        texts: the answers, null where the status is not ok.
        statuses: places in ``STATUSES``.
        truncated: whether the reply was cut off.
    """

    texts: pa.ChunkedArray
    statuses: NDArray[np.int8]
    truncated: Mask

    def columns(self) -> dict[str, pa.Array | pa.ChunkedArray]:
        """As columns of ``predictions.parquet``."""
        names = pa.array(STATUSES, pa.string())
        return {
            "extracted": self.texts,
            "status": names.take(pa.array(self.statuses)),
            "truncated": pa.array(self.truncated),
        }


def read_replies(rows: Rows, spec: TaskSpec, extraction: Extraction) -> ReadReplies:
    """Read every reply; one that repeats is read once."""
    texts: list[pa.Array] = []
    codes: list[NDArray[np.int8]] = []
    cut: list[Mask] = []
    numbers = {status: number for number, status in enumerate(STATUSES)}
    known: dict[Any, ReadAnswer] = {}
    for table in rows.batches(["raw", "finish_reason", "choices"]):
        found = []
        for raw, reason, choices in zip(*(column.to_pylist() for column in table.columns), strict=True):
            key = (raw, reason, *(choices or ()))
            answer = known.get(key)
            if answer is None:
                answer = read_answer(raw or "", reason, extraction, choices or (), spec.generation.stop)
                if len(known) >= _REMEMBERED:
                    known.clear()
                if len(answer.answer or "") + len(raw or "") <= _SHORT:
                    known[key] = answer
            found.append(answer)
        texts.append(pa.array([answer.answer for answer in found], pa.string()))
        codes.append(np.array([numbers[answer.status] for answer in found], dtype=np.int8))
        cut.append(np.array([answer.truncated for answer in found], dtype=bool))
    return ReadReplies(
        pa.chunked_array(texts, pa.string()),
        np.concatenate(codes) if codes else np.zeros(0, np.int8),
        np.concatenate(cut) if cut else np.zeros(0, bool),
    )


def answers_of(rows: Rows, spec: TaskSpec, image_root: Path | None) -> Answers:
    """What metrics are given of rows whose replies have been read."""
    slices = [SLICE + name for name in spec.slice_names]

    def raws(raw: list[str | None], status: list[str]) -> list[str | None]:
        return [text or "" if of in ("ok", "unparsed") else None for text, of in zip(raw, status, strict=True)]

    def of_slices(_: list[str], *columns: list[str | None]) -> list[dict[str, str]]:
        if not columns:
            return [{}] * len(_)
        return [
            dict(zip(spec.slice_names, (value or "" for value in values), strict=True))
            for values in zip(*columns, strict=True)
        ]

    def groups(group: list[str | None], key: list[str], repeat: list[int | None]) -> list[str]:
        return [known or base_id(own, number) for known, own, number in zip(group, key, repeat, strict=True)]

    def facts(texts: list[str | None], keys: list[str]) -> list[dict[str, Any]]:
        return [json_object(text, key) if text else {} for text, key in zip(texts, keys, strict=True)]

    def verdicts(texts: list[str | None], keys: list[str]) -> list[dict[str, Any] | None]:
        return [json_object(text, key) if text else None for text, key in zip(texts, keys, strict=True)]

    return Answers(
        ids=rows.column("sample_id"),
        texts=rows.column("extracted"),
        references=rows.lazy(["references"], lambda listed: [given or [] for given in listed]),
        raws=rows.lazy(["raw", "status"], raws),
        choices=rows.lazy(["choices"], lambda listed: [given or () for given in listed]),
        slices=rows.lazy(["sample_id", *slices], of_slices),
        images=rows.lazy(["images"], lambda listed: [" ".join(paths or ()) for paths in listed]),
        groups=rows.lazy(["group", "sample_id", "repeat"], groups),
        repeats=rows.lazy(["repeat"], lambda listed: [number or 0 for number in listed]),
        confidences=rows.column("confidence"),
        facts=rows.lazy(["facts", "sample_id"], facts),
        image_files=rows.lazy(["images"], image_files(image_root)),
        verdicts=rows.lazy(["verdict", "sample_id"], verdicts),
    )


def json_object(text: str, sample_id: str) -> dict[str, Any]:
    """A row's ``facts`` or ``verdict``.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{sample_id}: its facts or verdict are no JSON object; run the evaluation again")
    return found


def image_files(root: Path | None) -> Callable[[Sequence[Sequence[str] | None]], list[tuple[str, ...]]]:
    """Rows' images → their absolute paths; what is not there is left out."""
    folder = None if root is None else str(root.resolve())

    def found(images: Sequence[Sequence[str] | None]) -> list[tuple[str, ...]]:
        if folder is None:
            return [()] * len(images)
        located = ([locate(path, folder, max_bytes=DEFAULT_MAX_BYTES).file for path in row or ()] for row in images)
        return [tuple(file for file in files if file) for files in located]

    return found


def _clusters(rows: Rows) -> Ints:
    """Number the rows' images by first occurrence; a row without one is its own, with its repeats.

    Names are distinguished by 64-bit hashes, because a million of them would take most of the memory.
    """

    def hashes(images: list[list[str] | None], ids: list[str], repeats: list[int | None]) -> list[int]:
        keys = zip(images, ids, repeats, strict=True)
        return [hash(tuple(named)) if named else hash(base_id(key, repeat)) for named, key, repeat in keys]

    return cluster_codes(rows.lazy(["image_keys", "sample_id", "repeat"], hashes))


def predictions_of(result: TaskResult) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """The task's part of ``predictions.parquet``: its columns, and the rows batch by batch."""
    names = [
        *BASE_SCHEMA.names,
        *(column.name for column in result.columns),
        *(column.name + RIGHT for column in result.columns),
        *sorted(name for name in result.rows.schema.names if name.startswith(SLICE)),
    ]
    schema = pa.schema([result.rows.schema.field(name) for name in names])
    return schema, result.rows.batches(names)


def slice_masks(rows: Rows, keys: Sequence[str]) -> dict[str, dict[str, Mask]]:
    """Slice column → value → mask of its rows; values in alphabetical order, columns without values left out."""
    masks: dict[str, dict[str, Mask]] = {}
    for key in keys:
        values = property_of(rows.lazy([SLICE + key], lambda listed: [value or "" for value in listed]))
        found = {value: values.codes == code for code, value in enumerate(values.values) if value}
        if found:
            masks[SLICE + key] = found
    return masks


def summarise(result: TaskResult, seed: int) -> dict[str, Any]:
    """The task's entry in ``scores.json``: counts, statuses, metrics and slices with intervals."""
    n = len(result.rows)
    answered = result.answered
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
            "warning": column.warning,
            **facts_of(column),
        }
        for name, values in masks.items():
            for value in values:
                slices[name][value][column.name] = bounds(next(found))
    return {
        "n": n,
        "coverage": _share(answered),
        "statuses": result.status_counts,
        "failures": failures_of(result.rows),
        "headline": result.headline.name,
        "metrics": metrics,
        "slices": slices,
    }


def failures_of(rows: Rows) -> list[dict[str, Any]]:
    """Why rows have no reply, the commonest reasons first: ``{"error", "rows", "retry"}``.

    ``retry``: the next run asks them again.
    """
    counted: Counter[tuple[str, bool]] = Counter()
    for table in rows.batches(["finish_reason", "error", "retry"]):
        failed = table.filter(pc.equal(table["finish_reason"], "error")).to_pylist()
        counted.update((row["error"] or "no reply", bool(row["retry"])) for row in failed)
    return [{"error": error, "rows": n, "retry": retry} for (error, retry), n in counted.most_common(_MOST_FAILURES)]


def facts_of(column: MetricColumn) -> dict[str, Any]:
    """What readers must know to show a score: ``title``, ``unit``, ``top`` and ``mean_of_rows``."""
    return {"title": column.title, "unit": column.unit, "top": column.top, "mean_of_rows": column.mean_of_rows}


def _estimate(column: MetricColumn, mask: np.ndarray) -> float | None:
    """The metric on the answered rows; None if there are no such rows."""
    return finite(float(column.estimate(column.sums[mask].sum(0, keepdims=True))[0])) if mask.any() else None


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if len(mask) else 0.0


def counts(results: Mapping[str, TaskResult]) -> dict[str, Any]:
    """Rows per status of every task, for the manifest."""
    return {
        name: {status: count for status, count in sorted(result.status_counts.items()) if count}
        for name, result in results.items()
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


def load_evaluation(folder: Path) -> tuple[dict[str, TaskSpec], dict[str, Rows]]:
    """The task specs and the rows of a finished evaluation, by task.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    specs = load_specs(folder, load_manifest(folder))
    return specs, stored_rows(folder, specs)


def load_specs(folder: Path, manifest: dict[str, Any]) -> dict[str, TaskSpec]:
    """The tasks that an evaluation was made with, by name."""
    parsed = [parse_recipe(spec, TaskSpec, where=f"{folder}: task in its manifest") for spec in manifest["task_specs"]]
    return {spec.name: spec for spec in parsed}
