"""Questions that are asked several times: with the options in other places (circular), or sampled."""

from __future__ import annotations

from collections import Counter
from math import comb

import numpy as np

from evalsuite.metrics.base import Answers, Metric, MetricOptions, Quantity, Scores, in_part
from evalsuite.metrics.grouped import all_right
from evalsuite.metrics.normalize import official
from evalsuite.metrics.right_rows import question_codes, right_rows, shared_sums
from evalsuite.statistics import Floats, mean_of_sums
from winnow.errors import UserError


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Chance that at least one of ``k`` answers drawn from the samples is right (Chen et al. 2021), 0 to 1.

    1 − C(samples − right, k) / C(samples, k), which is unbiased for answers sampled independently.

    Raises:
        UserError: fewer samples than ``k``.
    """
    if samples < k:
        raise UserError(f"pass@{k} needs {k} answers to each question, and there are {samples}")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def agreement(answers: list[str | None]) -> float:
    """Share of the pairs of answers to one question that are equal, 0 to 1; None equals nothing, one answer is 1."""
    pairs = comb(len(answers), 2)
    counts = Counter(answer for answer in answers if answer is not None)
    return sum(comb(count, 2) for count in counts.values()) / pairs if pairs else 1.0


def _mean_over_questions(answers: Answers, values: Floats, variant: str) -> Scores:
    codes = question_codes(answers)
    return Scores(per_row=values[codes], sums=shared_sums(codes, values), estimate=mean_of_sums, variant=variant)


def _score_circular(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    right, judge = right_rows(answers, options)
    codes = question_codes(answers)
    rounds = f"{len(answers.ids) / (codes.max() + 1):.3g} a question on average"
    whole = f"questions right in every rotation of their options ({rounds}); {judge}"
    first = np.array(answers.repeats) == 0
    return {
        "": _mean_over_questions(answers, all_right(codes, right), whole),
        "_vanilla": in_part(right, first, f"questions asked once, with the options as they stand; {judge}"),
    }


def _score_pass(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    right, judge = right_rows(answers, options)
    codes = question_codes(answers)
    counts, hits = np.bincount(codes), np.bincount(codes, weights=right).astype(int)
    values = np.array([pass_at_k(int(n), int(c), options.k) for n, c in zip(counts, hits, strict=True)])
    variant = f"pass@{options.k} from {counts.min()} to {counts.max()} answers a question, unbiased; {judge}"
    return {"": _mean_over_questions(answers, values, variant)}


def _score_agreement(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    right, judge = right_rows(answers, options)
    codes = question_codes(answers)
    members: list[list[int]] = [[] for _ in range(int(codes.max()) + 1)]
    for row, code in enumerate(codes):
        members[code].append(row)
    said = [None if text is None else official(text) for text in answers.texts]
    equal = np.array([agreement([said[row] for row in rows]) for rows in members])
    voted = np.array([right[_majority(rows, said)] for rows in members])
    return {
        "": _mean_over_questions(answers, equal, "pairs of answers to one question that are equal, VQA normalisation"),
        "_majority": _mean_over_questions(
            answers, voted, f"the answer given most often, the first among equals; {judge}"
        ),
    }


def _majority(rows: list[int], said: list[str | None]) -> int:
    """The first row with the answer that most rows give; the first of all where none has an answer."""
    counts = Counter(said[row] for row in rows if said[row] is not None)
    return next((row for row in rows if counts and said[row] == counts.most_common(1)[0][0]), rows[0])


CIRCULAR = Metric(
    name="circular",
    about="Share of questions that are right wherever their options stand (CircularEval, Liu et al. 2023).",
    numbers={
        "": Quantity(title="circular", right_from=1.0, mean_of_rows=False),
        "_vanilla": Quantity(title="asked once", right_from=1.0),
    },
    score=_score_circular,
    options=("of",),
    references="letters",
    whole_set=True,
    needs=("repeats", "choices"),
)

PASS_AT_K = Metric(
    name="pass_at_k",
    about="Chance that one of k sampled answers is right (Chen et al. 2021); pass@1 is their mean.",
    numbers={"": Quantity(title="pass@k", right_from=1.0, mean_of_rows=False)},
    score=_score_pass,
    options=("k", "of", "normalizer"),
    whole_set=True,
    needs=("repeats",),
)

AGREEMENT = Metric(
    name="agreement",
    about="How often sampled answers to one question are equal, and how often the commonest one is right.",
    numbers={
        "": Quantity(title="agreement", mean_of_rows=False),
        "_majority": Quantity(title="majority vote", right_from=1.0, mean_of_rows=False),
    },
    score=_score_agreement,
    options=("of", "normalizer"),
    whole_set=True,
    needs=("repeats",),
)
