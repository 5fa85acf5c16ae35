"""Multiple choice where every category counts alike, however many questions it has (BLINK's total)."""

from __future__ import annotations

import numpy as np

from evalsuite.metrics.base import RIGHT_FROM, Answers, Metric, MetricOptions, Quantity, Scores, divide, rule_of
from evalsuite.metrics.multiple_choice import MULTIPLE_CHOICE
from evalsuite.reading.choice_rules import CHOICE_VARIANTS
from evalsuite.statistics import Floats
from winnow.errors import UserError


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    """The mean over the values of the task's first slice."""
    right = MULTIPLE_CHOICE.score(answers, options)[""].per_row
    categories = [next(iter(values.values()), "") for values in answers.slices]
    if not all(categories):
        lost = answers.ids[categories.index("")] if "" in categories else "the task"
        raise UserError(f"{lost}: choice_by_category needs the category of every row as the task's first slice")
    names, place = np.unique(np.array(categories), return_inverse=True)
    # Of every category: right rows, rows.
    sums = np.zeros((len(right), len(names), 2))
    rows = np.arange(len(right))
    sums[rows, place, 0], sums[rows, place, 1] = right, 1.0
    variant = f"mean over {len(names)} categories, right option, {rule_of(options)}"
    flat = sums.reshape(len(right), -1)
    return {"": Scores(per_row=right, sums=flat, estimate=_mean_of_categories, variant=variant)}


def _mean_of_categories(totals: Floats) -> Floats:
    """Of those that have rows: a slice or a resample may lack some."""
    right, rows = totals[:, 0::2], totals[:, 1::2]
    mean: Floats = divide(divide(right, rows).sum(axis=1), (rows > 0).sum(axis=1).astype(np.float64))
    return mean


CHOICE_BY_CATEGORY = Metric(
    name="choice_by_category",
    about="Mean over categories of the share of right options (BLINK). The task's first slice is the category.",
    numbers={"": Quantity(title="multiple choice, mean over categories", right_from=RIGHT_FROM, mean_of_rows=False)},
    score=_score,
    options=("variant",),
    variants=CHOICE_VARIANTS,
    reads_raw=True,
    read_row=MULTIPLE_CHOICE.read_row,
    other_tools=MULTIPLE_CHOICE.other_tools,
)
