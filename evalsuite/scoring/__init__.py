"""Answers in, metric columns out: a score for every row and the sums that make the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evalsuite.scoring.captions import BY_CORPUS
from evalsuite.scoring.columns import Answered, Column
from evalsuite.scoring.rows import BY_ROW
from evalsuite.scoring.settings import MetricSettings
from evalsuite.scoring.whole import BY_TASK

__all__ = ["METRICS", "Answered", "Column", "score"]

METRICS: dict[str, Callable[[str, Answered, MetricSettings], list[Column]]] = {**BY_ROW, **BY_CORPUS, **BY_TASK}


def score(answered: Answered, metrics: Mapping[str, MetricSettings]) -> list[Column]:
    """All columns of a task, in the order of ``metrics``.

    Raises:
        UserError: a row has no references, or lacks what a metric needs.
    """
    return [column for name, one in metrics.items() for column in METRICS[one.metric or name](name, answered, one)]
