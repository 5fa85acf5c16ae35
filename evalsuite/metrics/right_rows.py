"""Which rows are right by another metric, and which rows belong together: for metrics that count groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from evalsuite.metrics.base import Answers, MetricOptions
from evalsuite.statistics import Floats, Ints, cluster_codes
from winnow.errors import UserError


def right_rows(answers: Answers, options: MetricOptions) -> tuple[Floats, str]:
    """(rows,) 1 for a right row, 0 for a wrong one and for one without an answer; and what decided it.

    Raises:
        UserError: ``of`` names no metric, or one that says of no row whether it is right.
    """
    from evalsuite.metrics import METRICS

    name = options.of or ("multiple_choice" if any(answers.choices) else "accuracy")
    if name not in METRICS:
        raise UserError(f"of: {name}: there is no such metric; known: {', '.join(METRICS)}")
    numbers = METRICS[name].numbers
    judging = next((suffix for suffix, number in numbers.items() if number.right_from is not None), None)
    if judging is None:
        raise UserError(f"of: {name}: this metric does not say whether a row is right")
    columns = {column.name: column for column in METRICS[name].columns(name, answers, options)}
    return np.nan_to_num(columns[name + judging].right), f"a row is right by {name}"


def group_codes(answers: Answers, by: Sequence[str]) -> Ints:
    """(rows,) number of each row's group: the values of its facts at the keys ``by``, or the task's ``group``.

    Raises:
        UserError: a row lacks one of the keys.
    """
    if not by:
        return cluster_codes(answers.groups)
    keys: list[Hashable] = []
    for row, sample_id in enumerate(answers.ids):
        facts = answers.facts[row] if answers.facts else {}
        if lost := [key for key in by if key not in facts]:
            raise UserError(
                f"{sample_id}: has no {lost[0]!r}; give the row one in its `meta`, and name it in the task: "
                f"`facts: [{', '.join(by)}]`"
            )
        keys.append(tuple(str(facts[key]) for key in by))
    return cluster_codes(keys)


def question_codes(answers: Answers) -> Ints:
    """(rows,) number of each row's question: rows that ask it again have the same."""
    repeats = answers.repeats or [0] * len(answers.ids)
    return cluster_codes([key.removesuffix(f"#{repeat}") if repeat else key
                          for key, repeat in zip(answers.ids, repeats, strict=True)])  # fmt: skip


def shared_sums(codes: Ints, values: Floats) -> Floats:
    """(rows, 2): each row's share of its group's value and of its group.

    Summed over all rows of a group they are (value, 1), so ``mean_of_sums`` is the mean over groups; of a part
    of a group they are that part of it.

    Args:
        codes: (rows,) numbers of the groups.
        values: (groups,) in the order of their numbers.
    """
    sizes = np.bincount(codes)[codes]
    return np.stack([values[codes] / sizes, 1.0 / sizes], axis=1)


def beyond_images(answers: Answers, codes: Ints) -> str:
    """What a report must say about groups that are not about one image; '' where all are.

    Images are resampled as a whole, so an interval takes the parts of such a group for independent.
    """
    images: dict[int, str] = {}
    split = {int(code) for code, image in zip(codes, answers.images, strict=False)
             if images.setdefault(int(code), image) != image}  # fmt: skip
    return f"; {len(split):,} groups span images, which intervals take for independent" if split else ""
