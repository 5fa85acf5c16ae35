"""AMBER's yes/no questions (Wang et al. 2023): "no" is the positive answer, since what is not there is to be found."""

from __future__ import annotations

import numpy as np

from evalsuite.metrics.base import RIGHT_FROM, Answers, Metric, MetricOptions, Quantity, Scores, mean_scores, rule_of
from evalsuite.metrics.yes_no import confusion, read_yes_no, read_yes_no_row, true_yes_no
from evalsuite.reading.yes_no import YES_NO_VARIANTS


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    read, truth = read_yes_no(answers, options), true_yes_no(answers, "amber")
    right = np.array([float(a == b) for a, b in zip(read, truth, strict=True)])
    denied = np.array([float(answer == "no") for answer in read])
    absent = np.array([float(answer == "no") for answer in truth])
    variant = f"no is positive, {rule_of(options)}, rows that say neither are wrong"
    return {
        "_accuracy": mean_scores(right, f"accuracy, {variant}", binary=True),
        **confusion(denied, absent, variant),
    }


AMBER = Metric(
    name="amber",
    about="Accuracy, and precision, recall and F1 of the answer no, of AMBER's yes/no questions (Wang et al. 2023).",
    numbers={
        "_accuracy": Quantity(title="AMBER accuracy", right_from=RIGHT_FROM),
        "_precision": Quantity(title="AMBER precision"),
        "_recall": Quantity(title="AMBER recall"),
        "_f1": Quantity(title="AMBER F1", mean_of_rows=False),
    },
    score=_score,
    options=("variant",),
    variants=YES_NO_VARIANTS,
    references="yes_no",
    reads_raw=True,
    read_row=read_yes_no_row,
)
