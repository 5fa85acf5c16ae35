"""Groups of rows that count only as a whole: HallusionBench, MMVP, NaturalBench."""

from __future__ import annotations

import numpy as np

from evalsuite.metrics.base import Answers, Metric, MetricOptions, Quantity, Scores
from evalsuite.metrics.right_rows import beyond_images, group_codes, right_rows, shared_sums
from evalsuite.statistics import Floats, Ints, mean_of_sums


def all_right(codes: Ints, right: Floats) -> Floats:
    """(groups,) 1 where all rows of a group are right, else 0."""
    whole: Floats = (np.bincount(codes, weights=1.0 - right) == 0).astype(np.float64)
    return whole


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    right, judge = right_rows(answers, options)
    codes = group_codes(answers, options.by)
    whole = all_right(codes, right)
    what = " and ".join(options.by) if options.by else "the task's group"
    variant = f"groups with all rows right, of {len(whole):,} by {what}; {judge}{beyond_images(answers, codes)}"
    sums = shared_sums(codes, whole)
    return {"": Scores(per_row=whole[codes], sums=sums, estimate=mean_of_sums, variant=variant)}


def _warn(answers: Answers, options: MetricOptions) -> str | None:
    codes = group_codes(answers, options.by)
    if len(codes) and np.bincount(codes).max() > 1:
        return None
    return "every group has one row; `group:` in the task or `by:` of the metric names the key that rows share"


GROUPED_ACCURACY = Metric(
    name="grouped_accuracy",
    about="Share of groups of which every row is right: the two images of a question, all questions about a figure.",
    numbers={"": Quantity(title="whole groups right", right_from=1.0, mean_of_rows=False)},
    score=_score,
    options=("of", "by", "normalizer"),
    whole_set=True,
    needs=("groups",),
    warn=_warn,
)
