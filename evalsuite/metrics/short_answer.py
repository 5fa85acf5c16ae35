"""VQA accuracy and exact match: one prediction against the answers of people."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from evalsuite.metrics.checks import check_answers, check_variant
from evalsuite.metrics.normalize import NORMALIZERS, one_line

NormalizerName = Literal["official", "evalai", "none"]
_ENOUGH = 3  # matching people for full marks


def vqa_accuracy(
    prediction: str,
    answers: Sequence[str],
    *,
    normalizer: NormalizerName = "official",
    unanimous: Literal["normalize", "raw"] = "normalize",
) -> float:
    """Share of people who agree with the prediction, full marks from three on (Antol et al. 2015).

    For every answer in turn, min(1, matches among the *other* answers / 3); then the mean. With ten
    answers 1 match gives 0.3, 2 give 0.6, 3 give 0.9, 4 and more give 1.

    Args:
        normalizer: ``official`` (VQAv2) or ``evalai`` (TextVQA, VizWiz, OK-VQA).
        unanimous: what to do when all answers are the same string. ``raw`` compares as they stand, as
            the official code does since 2021 ("Yes" against ten times "yes" is then wrong);
            ``normalize`` treats them like all others, as most tools do.

    With a single answer nobody is left to agree with, and the formula gives 0 for everything. Exact
    match takes its place, with a warning.

    Raises:
        UserError: there is no answer, or the normalizer is unknown.
    """
    _check(answers, normalizer)
    if len(answers) == 1:
        warnings.warn("vqa_accuracy with one answer is exact match: nobody is left to agree with", stacklevel=2)
        return exact_match(prediction, answers, normalizer=normalizer)
    bare = [one_line(answer) for answer in answers]
    if unanimous == "raw" and len(set(bare)) == 1:
        prediction, given = one_line(prediction), bare
    else:
        normalize = NORMALIZERS[normalizer]
        prediction, given = normalize(prediction), [normalize(answer) for answer in answers]
    matches = Counter(given)[prediction]
    # An answer that matches is left out of its own count.
    without_self = min(1.0, max(0, matches - 1) / _ENOUGH)
    with_all = min(1.0, matches / _ENOUGH)
    return (matches * without_self + (len(given) - matches) * with_all) / len(given)


def exact_match(prediction: str, answers: Sequence[str], *, normalizer: NormalizerName = "official") -> float:
    """1 if the normalised prediction equals any normalised answer, else 0.

    Raises:
        UserError: there is no answer, or the normalizer is unknown.
    """
    _check(answers, normalizer)
    normalize = NORMALIZERS[normalizer]
    wanted = normalize(prediction)
    return float(any(normalize(answer) == wanted for answer in answers))


def _check(answers: Sequence[str], normalizer: str) -> None:
    check_answers(answers)
    check_variant(normalizer, NORMALIZERS, "normalizer")
