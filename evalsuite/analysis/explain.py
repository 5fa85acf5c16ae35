"""Why a row scored as it did: reply, answer, normalised, matched; by every variant and by other tools."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalsuite.analysis.results import load_evaluation, score_rows
from evalsuite.judge.judgements import Judgement, read_judgements
from evalsuite.metrics.base import Reading, Row
from evalsuite.reading import other_readers
from evalsuite.reading.read import Extraction, ReadAnswer, Step, read_answer, reading_steps
from evalsuite.tasks.spec import MetricSettings, TaskSpec, variants_of
from winnow.errors import UserError


@dataclass(frozen=True)
class MetricExplanation:
    """One metric of a row.

    Attributes:
        name: of the metric in the task.
        score: of the row as the task scores it; None where the metric has no score for a single row.
        variant: what exactly was computed.
        readings: the task's own rule first, then its other variants, then what other tools do.
    """

    name: str
    score: float | None
    variant: str
    readings: list[Reading]


@dataclass(frozen=True)
class RowExplanation:
    """A row of one task.

    Attributes:
        task: its name.
        row: its columns of ``predictions.parquet``, read and scored again.
        metrics: every metric of the task.
        steps: from the stored reply to the answer; empty where no reply came.
        others: name of another reader → what it reads, of those that read something else.
        judgements: what a judge was asked about it and replied.
    """

    task: str
    row: Row
    metrics: list[MetricExplanation]
    steps: list[Step]
    others: dict[str, ReadAnswer]
    judgements: list[Judgement] = field(default_factory=list)


def explain(folder: Path, sample_id: str, task: str | None = None) -> list[RowExplanation]:
    """The row in every task that holds it, or in one of them.

    Raises:
        UserError: no finished evaluation, or no such row; the nearest ids are named.
    """
    specs, rows = load_evaluation(folder)
    found = []
    for name, spec in specs.items():
        if task not in (None, name):
            continue
        place = next((place for place, key in enumerate(rows[name].column("sample_id")) if key == sample_id), None)
        if place is not None:
            judged = read_judgements(folder, name, sample_id).get(name, [])
            found.append(replace(explain_row(spec, rows[name][place]), judgements=judged))
    if not found:
        ids = [key for listed in rows.values() for key in listed.column("sample_id")]
        # The row's own id without the name of its file before it is often too short to look alike.
        near = [key for key in ids if key.endswith(f"/{sample_id}")][:3]
        near = near or difflib.get_close_matches(sample_id, ids, n=3)
        hint = f"; near it: {', '.join(near)}" if near else f"; ids look like {ids[0]}" if ids else ""
        raise UserError(f"{folder}: no sample {sample_id!r}{f' in task {task}' if task else ''}{hint}")
    return found


def explain_row(spec: TaskSpec, row: Row) -> RowExplanation:
    """One row of a task, scored by itself. Metrics of whole tasks keep the value they had in the run."""
    read = {**row, **score_rows(spec.model_copy(update={"metrics": {}}), [row]).rows[0]}
    metrics = []
    for name, settings in spec.metrics.items():
        stored = (row.get(name + suffix) for suffix in settings.definition.numbers)
        own = next((value for value in stored if value is not None), None)
        metrics.append(MetricExplanation(name, own, _variant(spec, name, row), _readings(read, settings)))
    return RowExplanation(spec.name, read, metrics, _steps(spec, row), _others(spec, row))


def _variant(spec: TaskSpec, name: str, row: Row) -> str:
    """What is computed; of a metric that looks at more than one row, what it is about."""
    metric = spec.metrics[name].definition
    if metric.whole_set or set(metric.needs) - {"choices"}:
        return metric.about
    return score_rows(spec.model_copy(update={"metrics": {name: spec.metrics[name]}}), [row]).columns[0].variant


def _steps(spec: TaskSpec, row: Row) -> list[Step]:
    if row["finish_reason"] in ("error", "content_filter"):
        return []
    return reading_steps(row["raw"] or "", spec.extraction, row["choices"] or (), spec.generation.stop)


def _others(spec: TaskSpec, row: Row) -> dict[str, ReadAnswer]:
    def read(extraction: Extraction) -> ReadAnswer:
        return read_answer(
            row["raw"] or "", row["finish_reason"], extraction, row["choices"] or (), spec.generation.stop
        )

    own = read(spec.extraction)
    found = {name: read(extraction) for name, extraction in other_readers(spec.extraction).items()}
    return {name: answer for name, answer in found.items() if answer != own}


def _readings(row: Row, settings: MetricSettings) -> list[Reading]:
    metric = settings.definition
    if metric.read_row is None:
        return []
    found = [metric.read_row(row, settings, "this task")]
    found += [metric.read_row(row, changed, label) for label, changed in variants_of(settings) if changed != settings]
    return found + [read(row, settings) for read in metric.other_tools]
