"""Scores of evaluations, from their ``scores.json``, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.query.catalog import Folder, scores_of


@dataclass(frozen=True)
class Corrected:
    """The same metric after reviewers' decisions about evaluation rows, on the ``n`` rows that are left."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Score:
    """One metric of one task in one run, with its 95% interval (None where not given)."""

    run: str
    task: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    coverage: float | None
    variant: str
    is_headline: bool
    corrected: Corrected | None = None

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share of 1 (CIDEr is not)."""
        return "cider" not in self.metric


def scores(folder: Folder) -> list[Score]:
    """All scores of a run, tasks with more rows first; entries without a value are left out.

    Raises:
        UserError: the file is unreadable.
    """
    found = []
    for task, content in _mapping(scores_of(folder).get("tasks")).items():
        for metric, entry in _mapping(_mapping(content).get("metrics")).items():
            value = _number(_mapping(entry).get("value"))
            if value is None:
                continue
            found.append(
                Score(
                    run=folder.name,
                    task=str(task),
                    metric=str(metric),
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


def _corrected(content: Mapping[str, Any], metric: str) -> Corrected | None:
    entry = _mapping(_mapping(content.get("metrics")).get(metric))
    value = _number(entry.get("value"))
    if value is None:
        return None
    return Corrected(
        value, _number(entry.get("ci_low")), _number(entry.get("ci_high")), int(_number(content.get("n")) or 0)
    )


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
