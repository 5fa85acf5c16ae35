"""Scores of evaluations as ``scores.json`` has them, how two runs differ, and what a metric compared of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dashboards.data.answers import Answer
from dashboards.data.catalog import Folder, manifest_of, scores_of
from dashboards.data.comparison import mean_difference
from dashboards.data.engine import cached, fetch_table, quoted
from dashboards.data.predictions import Pairing, open_predictions, pair
from winnow.errors import UserError

if TYPE_CHECKING:
    from evalsuite.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Corrected:
    """The same metric after reviewers' decisions about evaluation rows, on the ``n`` rows that are left.

    Attributes:
        right, wrong: how many of the rows that were decided on are right and wrong answers; 0 where that is not known.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    right: int = 0
    wrong: int = 0

    @property
    def can_only_improve(self) -> bool:
        """Whether reviewers looked at wrong answers alone, so that their corrections could only improve the score."""
        return self.wrong > 0 and self.right == 0


@dataclass(frozen=True)
class Score:
    """One metric of one task in one run, with its 95% interval (None where not given).

    Attributes:
        title: the metric's name for people.
        unit: ``%`` for a share of 1, ``points`` for a sum, '' for anything else.
        top: the value of a perfect score, None if there is none.
        mean_of_rows: the value is the mean of its rows' scores.
    """

    run: str
    task: str
    metric: str
    title: str
    unit: str
    top: float | None
    mean_of_rows: bool
    value: float
    low: float | None
    high: float | None
    n: int
    coverage: float | None
    variant: str
    is_headline: bool
    corrected: Corrected | None = None


def scores(folder: Folder) -> list[Score]:
    """All scores of a run, tasks with more rows first; entries without a value are left out.

    Raises:
        UserError: the file is unreadable, or of a version that did not record units.
    """
    found = []
    for task, content in _mapping(scores_of(folder).get("tasks")).items():
        for metric, entry in _mapping(_mapping(content).get("metrics")).items():
            value = _number(_mapping(entry).get("value"))
            if value is None:
                continue
            if "unit" not in entry:
                raise UserError(
                    f"{folder.path}: its scores name no unit; bring it up to date with `evalsuite score {folder.path}`"
                )
            found.append(
                Score(
                    run=folder.name,
                    task=str(task),
                    metric=str(metric),
                    title=str(entry.get("title") or metric),
                    unit=str(entry["unit"]),
                    top=_number(entry.get("top")),
                    mean_of_rows=entry.get("mean_of_rows") is True,
                    value=value,
                    low=_number(entry.get("ci_low")),
                    high=_number(entry.get("ci_high")),
                    n=int(_number(entry.get("n")) or 0),
                    coverage=_number(entry.get("coverage")),
                    variant=str(entry.get("variant") or ""),
                    is_headline=_mapping(content).get("headline") == metric,
                    corrected=_corrected(_mapping(_mapping(content).get("corrected")), str(metric)),
                )
            )
    rows = {score.task: max(other.n for other in found if other.task == score.task) for score in found}
    return sorted(found, key=lambda score: (-rows[score.task], score.task))


def titles(folder: Folder) -> dict[str, str]:
    """Metric → its name for people, for the metrics of a run; empty where its scores cannot be read."""
    try:
        return {score.metric: score.title for score in scores(folder)}
    except UserError:
        return {}


def _corrected(content: Mapping[str, Any], metric: str) -> Corrected | None:
    entry = _mapping(_mapping(content.get("metrics")).get(metric))
    value = _number(entry.get("value"))
    if value is None:
        return None
    answers = _mapping(content.get("answers"))
    return Corrected(
        value, _number(entry.get("ci_low")), _number(entry.get("ci_high")), int(_number(content.get("n")) or 0),
        int(_number(answers.get("right")) or 0), int(_number(answers.get("wrong")) or 0),
    )  # fmt: skip


def headline(found: list[Score]) -> list[Score]:
    """The metric of each task that its evaluation names as the first to read."""
    by_task: dict[str, list[Score]] = {}
    for score in found:
        by_task.setdefault(score.task, []).append(score)
    return [next((score for score in scores if score.is_headline), scores[0]) for scores in by_task.values()]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Change:
    """Run minus baseline in one metric, on the ``n`` rows that both have.

    Attributes:
        unit: see ``Score``.
        base, run: means over these rows.
        low, high: 95% interval of the difference, paired, clustered by image; None for one image.
    """

    task: str
    metric: str
    unit: str
    base: float
    run: float
    difference: float
    low: float | None
    high: float | None
    n: int


@cached(64)
def changes(run: Folder, base: Folder, scores: tuple[Score, ...]) -> Sequence[Change]:
    """The change in each of ``scores`` that is a mean over rows and that both runs have.

    Raises:
        UserError: a table is broken.
    """
    known = set(open_predictions(run).metrics) & set(open_predictions(base).metrics)
    wanted = [score for score in scores if score.mean_of_rows and score.metric in known]
    metrics = list(dict.fromkeys(score.metric for score in wanted))
    if not metrics:
        return []
    now, before = _values(run, metrics), _values(base, metrics)
    pairing = pair(run, base)
    found = [_change(pairing, before[score.metric], now[score.metric], score) for score in wanted]
    return [change for change in found if change]


def _values(run: Folder, metrics: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Metric → (rows,) its values, NaN where it does not apply."""
    columns = ", ".join(f"coalesce({quoted(metric)}, 'nan')::DOUBLE" for metric in metrics)
    found = fetch_table(run.connection, f"SELECT {columns} FROM read_parquet(?)", [open_predictions(run).path])
    return {metric: column.to_numpy() for metric, column in zip(metrics, found.columns, strict=True)}


def _change(pairing: Pairing, before: NDArray[np.float64], now: NDArray[np.float64], score: Score) -> Change | None:
    rows = np.flatnonzero(pairing.run.of_task(score.task) & (pairing.partner >= 0))
    rows = rows[np.isfinite(now[rows]) & np.isfinite(before[pairing.partner[rows]])]
    if not len(rows):
        return None
    old, new = before[pairing.partner[rows]], now[rows]
    found = mean_difference(old, new, pairing.run.image[rows])
    return Change(
        task=score.task,
        metric=score.metric,
        unit=score.unit,
        base=float(old.mean()),
        run=float(new.mean()),
        difference=found.value,
        low=found.low,
        high=found.high,
        n=len(rows),
    )


@dataclass(frozen=True)
class MetricExplanation:
    """One rule on one answer.

    Attributes:
        metrics: that use it.
        text: the answer as it is compared.
        matched: what it matched, '' for nothing; of a rule that does not judge, what it is nearest to.
        judges: whether the rule scores single rows.
    """

    metrics: tuple[str, ...]
    text: str
    matched: str
    judges: bool = True


def metric_explanations(folder: Folder, answer: Answer) -> list[MetricExplanation]:
    """What the metrics of the answer's task compared, as the evaluation's manifest sets them up.

    Empty for an answer without references, and where the manifest does not hold the task or cannot be read:
    the answer itself is still worth showing.
    """
    try:
        spec = tasks_of(folder).get(answer.task)
    except UserError:
        return []
    if spec is None or not answer.references:
        return []
    row = {
        "sample_id": answer.sample_id, "extracted": answer.extracted, "raw": answer.raw,
        "references": list(answer.references), "choices": list(answer.choices) or None,
        "verdict": answer.verdict or None, "facts": answer.facts or None,
    }  # fmt: skip
    found: dict[tuple[str, str, bool], list[str]] = {}
    for name, settings in spec.metrics.items():
        if read_row := settings.definition.read_row:
            reading = read_row(row, settings, name)
            key = (reading.text or "", reading.matched, reading.score is not None)
            found.setdefault(key, []).append(name)
    return [MetricExplanation(tuple(names), *key) for key, names in found.items()]


@cached(16)
def tasks_of(folder: Folder) -> Mapping[str, TaskSpec]:
    """The tasks of an evaluation as its manifest holds them; raises UserError where that cannot be read."""
    from evalsuite.analysis.results import load_specs

    manifest = dict(manifest_of(folder))
    return load_specs(folder.path, manifest) if isinstance(manifest.get("task_specs"), list) else {}
