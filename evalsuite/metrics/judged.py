"""The score that a judge gave: verdicts are asked for and read by ``evalsuite.judge`` and only averaged here."""

from __future__ import annotations

import json

import numpy as np

from evalsuite.metrics.base import (
    RIGHT_FROM,
    Answers,
    Metric,
    MetricOptions,
    Quantity,
    Reading,
    Row,
    Scores,
    divide,
    in_part,
    ratio_of_sums,
)

JUDGE = "judge"


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    """The mean of the verdicts' scores; a row without a verdict is left out.

    Of replies compared by numbers also the sum of this model's numbers over that of the other's.
    """
    verdicts = answers.verdicts or [None] * len(answers.ids)
    given = np.array([verdict is not None for verdict in verdicts], dtype=bool)
    values = np.array([verdict["score"] if verdict else 0.0 for verdict in verdicts], dtype=np.float64)
    by = next((verdict["by"] for verdict in verdicts if verdict), "not judged yet")
    scores = {"": in_part(values, given, by)}
    if any("other" in verdict for verdict in verdicts if verdict):
        numbers = np.array([(v["own"], v["other"]) if v else (0.0, 0.0) for v in verdicts], dtype=np.float64)
        per_row = np.where(given, divide(numbers[:, 0], numbers[:, 1]), np.nan)
        relative = Scores(per_row=per_row, sums=numbers, estimate=ratio_of_sums(0, 1), variant=by)
        return {"_relative": relative, **scores}
    return scores


def _read(row: Row, options: MetricOptions, rule: str) -> Reading:
    verdict = json.loads(row.get("verdict") or "{}")
    if not verdict:
        return Reading(rule, None, "", None)
    answer = verdict.get("answer") or verdict["status"]
    against = f"{verdict['own']:g} against {verdict['other']:g}" if "other" in verdict else ""
    return Reading(rule, answer, against, verdict["score"])


JUDGED = Metric(
    name=JUDGE,
    about="What the task's `judge:` decides of each reply, 0 to 1; of two replies, how often this one is the better.",
    numbers={
        "_relative": Quantity(title="judge, share of the other's score", top=None, mean_of_rows=False),
        "": Quantity(title="judge", right_from=RIGHT_FROM),
    },
    score=_score,
    of_judge=True,
    read_row=_read,
)
