"""Evaluations compared row by row, on the rows that all of them hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from evalsuite.analysis.results import TaskResult, facts_of, load_evaluation, score_rows, slice_masks
from evalsuite.analysis.rows import Mask, Rows
from evalsuite.metrics.base import MetricColumn
from evalsuite.statistics import benjamini_hochberg, finite, holm, mcnemar, paired_difference, smallest_detectable
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError

_LISTED = 100


@dataclass(frozen=True)
class ComparedRun:
    """One side of a comparison: its name, tasks and rows."""

    name: str
    specs: Mapping[str, TaskSpec]
    rows: Mapping[str, Rows]


def load_run(folder: Path) -> ComparedRun:
    """A finished evaluation as one side of a comparison.

    Raises:
        UserError: the folder is no finished evaluation.
    """
    return ComparedRun(str(folder), *load_evaluation(folder))


def compare_folders(baseline: Path, others: Sequence[Path], seed: int = 0) -> dict[str, Any]:
    """``compare`` of finished evaluations.

    Raises:
        UserError: a folder is no finished evaluation, or one shares no row with the baseline.
    """
    found = compare(load_run(baseline), [load_run(other) for other in others], seed)
    for run in found["runs"]:
        if not run["tasks"]:
            raise UserError(f"{baseline} and {run['run']} share no row of a task; they cannot be compared")
    return found


def check_baseline(baseline: Path, specs: Mapping[str, TaskSpec]) -> None:
    """Refuse a baseline that cannot be compared, before a model is asked.

    Raises:
        UserError: the folder is no finished evaluation, or shares no task with them.
    """
    before, _ = load_evaluation(baseline)
    if not before.keys() & specs.keys():
        raise UserError(f"{baseline}: shares no task with this evaluation; it has {', '.join(before)}")


def compare(baseline: ComparedRun, runs: Sequence[ComparedRun], seed: int = 0) -> dict[str, Any]:
    """Each of ``runs`` (B) minus ``baseline`` (A), task by task.

    Rows count that every evaluation with the task holds with the same images, question and
    references, and for which no request failed; the others are counted, not compared. Both sides
    are scored again on those rows, with the task settings of B.

    Returns:
        ``{"baseline": …, "tests": n, "runs": [{"run": …, "tasks": {…}}]}``; p-values of headline
        metrics are adjusted over all tasks and runs (Holm), those of slices over all slices
        (Benjamini-Hochberg).
    """
    compared: list[dict[str, Any]] = []
    for run in runs:
        tasks = {}
        for name in run.specs:
            if name in baseline.specs:
                others = [other.rows[name] for other in runs if other is not run and name in other.specs]
                if entry := _compare_task(run.specs[name], baseline.rows[name], run.rows[name], others, seed):
                    tasks[name] = entry
        compared.append({"run": run.name, "tasks": tasks})
    _adjust([task for run in compared for task in run["tasks"].values()])
    tests = sum(len(run["tasks"]) for run in compared)
    return {"baseline": baseline.name, "tests": tests, "runs": compared}


def _compare_task(spec: TaskSpec, a: Rows, b: Rows, others: Sequence[Rows], seed: int) -> dict[str, Any] | None:
    sides = [ComparedSide.of(rows) for rows in (a, b, *others)]
    old, new = sides[:2]
    # (rows of B,) place of the same row on each side, -1 where it has none.
    places = [side.places_of(new.ids) for side in sides]
    met = places[0] >= 0
    everywhere = np.logical_and.reduce([found >= 0 for found in places])
    same = everywhere & np.logical_and.reduce(
        [side.questions[found] == new.questions for side, found in zip(sides, places, strict=True)]
    )
    failed = np.logical_or.reduce([side.failed[found] for side, found in zip(sides, places, strict=True)])
    asked = same & ~failed
    if not asked.any():
        return None
    order = np.argsort(np.argsort(places[0][asked]))
    first = _in_order(score_rows(spec, a.where(_mask(places[0][asked], len(a)))), order)
    second = score_rows(spec, b.where(asked))
    masks = slice_masks(second.rows, spec.slice_names)
    metrics = {}
    slices: dict[str, dict[str, Any]] = {
        name: {value: {"n": int(mask.sum())} for value, mask in values.items()} for name, values in masks.items()
    }
    for before, after in _on_both(first, second):
        metrics[before.name] = {**facts_of(after), **_difference(before, after, None, (first, second), seed)}
        for name, values in masks.items():
            for value, mask in values.items():
                slices[name][value][before.name] = _difference(before, after, mask, (first, second), seed)
    return {
        "n": int(asked.sum()),
        "only_in_a": len(old.ids) - int(met.sum()),
        "only_in_b": len(new.ids) - int(met.sum()),
        "elsewhere": int((met & ~everywhere).sum()),
        "changed": int((everywhere & ~same).sum()),
        "failed": int((same & failed).sum()),
        "headline": second.headline.name if second.headline.name in metrics else next(iter(metrics)),
        "judges": _other_judges(spec, first, second),
        "coverage": _coverage((first, second)),
        "metrics": metrics,
        "slices": slices,
        **_wins(first, second, order),
    }


def _on_both(first: TaskResult, second: TaskResult) -> list[tuple[MetricColumn, MetricColumn]]:
    """Columns that both sides have; a judge's share of another's score needs verdicts."""
    known = {column.name: column for column in first.columns}
    return [(known[column.name], column) for column in second.columns if column.name in known]


def _other_judges(spec: TaskSpec, first: TaskResult, second: TaskResult) -> dict[str, str] | None:
    """Who judged A, and who B, where that is not the same."""
    judged = {key for key, settings in spec.metrics.items() if settings.definition.of_judge}
    for before, after in _on_both(first, second):
        if before.name in judged and before.variant != after.variant:
            return {"a": before.variant, "b": after.variant}
    return None


@dataclass(frozen=True)
class ComparedSide:
    """The rows of one evaluation as far as they decide what is compared, (rows,) each.

    Attributes:
        ids: sample ids.
        questions: hash of images, question and references.
        failed: whether no reply came.
    """

    ids: pa.Array
    questions: NDArray[np.int64]
    failed: Mask

    @classmethod
    def of(cls, rows: Rows) -> ComparedSide:
        ids, questions, failed = [], [], []
        for table in rows.batches(["sample_id", "image_keys", "question", "references", "status"]):
            ids.append(table["sample_id"].combine_chunks())
            asked = (table[name].to_pylist() for name in ("image_keys", "question", "references"))
            questions += [hash((tuple(a or ()), b, tuple(c or ()))) for a, b, c in zip(*asked, strict=True)]
            failed.append(pc.equal(table["status"], "failed").to_numpy(zero_copy_only=False))
        return cls(
            pa.chunked_array(ids, pa.string()).combine_chunks(), np.array(questions, dtype=np.int64),
            np.concatenate(failed) if failed else np.zeros(0, bool),
        )  # fmt: skip

    def places_of(self, ids: pa.Array) -> NDArray[np.int64]:
        """Where the rows with these ids are, -1 for those that are not here."""
        found = pc.index_in(ids, value_set=self.ids)
        return np.asarray(pc.fill_null(found, -1), dtype=np.int64)


def _mask(places: NDArray[np.int64], count: int) -> Mask:
    mask = np.zeros(count, dtype=bool)
    mask[places] = True
    return mask


def _in_order(result: TaskResult, order: NDArray[np.int64]) -> TaskResult:
    """The result with its arrays, not its rows, in another order."""
    columns = [
        replace(column, per_row=column.per_row[order], sums=column.sums[order], right=column.right[order])
        for column in result.columns
    ]
    return replace(
        result, columns=columns, clusters=result.clusters[order], statuses=result.statuses[order],
        truncated=result.truncated[order],
    )  # fmt: skip


def _coverage(results: tuple[TaskResult, TaskResult], mask: Mask | None = None) -> dict[str, float]:
    """Share of the rows with an answer on both sides."""
    answered = (result.answered for result in results)
    a, b = (float(rows.mean() if mask is None else rows[mask].mean()) for rows in answered)
    return {"a": a, "b": b}


def _difference(
    a: MetricColumn, b: MetricColumn, mask: Mask | None, results: tuple[TaskResult, TaskResult], seed: int
) -> dict[str, Any]:
    """One metric on both sides. Its p is McNemar's where rows are right or wrong and share no image."""
    chosen = slice(None) if mask is None else mask
    sums_a, sums_b, clusters = a.sums[chosen], b.sums[chosen], results[1].clusters[chosen]
    found = paired_difference(sums_a, sums_b, clusters, a.estimate, seed=seed)
    applies = np.isfinite(a.per_row[chosen]) & np.isfinite(b.per_row[chosen])
    right = [column.per_row[chosen][applies] > 0.5 for column in (a, b)]
    test = mcnemar(*right) if a.binary and b.binary else None
    exact = test is not None and found.n == found.clusters
    return {
        "a": finite(a.estimate(sums_a.sum(0, keepdims=True))[0]),
        "b": finite(b.estimate(sums_b.sum(0, keepdims=True))[0]),
        "difference": finite(found.value),
        "ci_low": found.low,
        "ci_high": found.high,
        "p": test.p_exact if test and exact else found.p,
        "test": "McNemar, exact" if exact else "paired bootstrap over images",
        "n": found.n,
        "images": found.clusters,
        "coverage": _coverage(results, mask),
        "smallest_detectable": smallest_detectable(found.se) if found.se is not None else None,
        "mcnemar": asdict(test) if test else None,
    }


def _adjust(tasks: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm`` to headline metrics and ``q`` to their slices."""
    headlines = [task["metrics"][task["headline"]] for task in tasks]
    slices = [
        entry[task["headline"]] for task in tasks for values in task["slices"].values() for entry in values.values()
    ]
    for entries, key, rule in ((headlines, "p_holm", holm), (slices, "q", benjamini_hochberg)):
        adjusted = rule([np.nan if entry["p"] is None else entry["p"] for entry in entries])
        for entry, value in zip(entries, adjusted.tolist(), strict=True):
            entry[key] = finite(value)


def _wins(first: TaskResult, second: TaskResult, places_before: NDArray[np.int64]) -> dict[str, Any]:
    """Rows on which B is better, is worse, or both score 0 on the headline metric, largest change first."""
    change = second.headline.per_row - first.headline.per_row
    order = np.argsort(-np.abs(change), kind="stable")
    places = {
        "better": order[change[order] > 0],
        "worse": order[change[order] < 0],
        "both_wrong": np.flatnonzero((first.headline.per_row == 0) & (second.headline.per_row == 0)),
    }
    listed = sorted({place for found in places.values() for place in found[:_LISTED].tolist()})
    shown = dict(zip(listed, first.rows.take(places_before[listed].tolist()), strict=True))
    return {
        **{name: len(found) for name, found in places.items()},
        **{f"{name}_ids": [shown[place]["sample_id"] for place in found[:_LISTED].tolist()]
           for name, found in places.items()},
        "answers_before": {row["sample_id"]: row["raw"] for row in shown.values()},
    }  # fmt: skip
