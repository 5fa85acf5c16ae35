"""Metrics of short answers: ANLS, relaxed accuracy and GQA accuracy."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Sequence
from typing import Any, Literal

from evalsuite.metrics.base import (
    RIGHT_FROM,
    SHORT_ANSWERS,
    Answers,
    HubModule,
    Metric,
    MetricOptions,
    Quantity,
    Reading,
    Row,
    Scores,
    check_answers,
    check_variant,
    mean_scores,
    other_tool,
    read_best,
    score_each,
)


def anls(prediction: str, answers: Sequence[str], *, threshold: float = 0.5) -> float:
    """Average normalised Levenshtein similarity of one prediction (Biten et al. 2019): the best over the answers.

    The distance is between texts in lower case with single blanks; it is divided by the length of the
    longer text as it stands. A similarity below ``threshold`` counts 0, one equal to it counts. Two
    empty texts are equal.

    Raises:
        UserError: there is no answer.
    """
    check_answers(answers)
    best = max(_similarity(prediction, answer) for answer in answers)
    return best if best >= threshold else 0.0


def _similarity(prediction: str, answer: str) -> float:
    length = max(len(prediction.upper()), len(answer.upper()))
    if not length:
        return 1.0
    return 1 - edit_distance(_lowered(prediction), _lowered(answer)) / length


def _lowered(text: str) -> str:
    return " ".join(text.lower().split())


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance, one integer operation per character of ``b`` (Myers 1999, Hyyrö 2003)."""
    if not a:
        return len(b)
    where: dict[str, int] = {}
    for position, character in enumerate(a):
        where[character] = where.get(character, 0) | 1 << position
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    plus, minus, distance = full, 0, len(a)
    for character in b:
        match = where.get(character, 0)
        diagonal = ((match & plus) + plus ^ plus) | match | minus
        right, left = minus | ~(diagonal | plus) & full, plus & diagonal
        distance += bool(right & last) - bool(left & last)
        right = (right << 1 | 1) & full
        plus, minus = (left << 1 | ~(diagonal | right)) & full, right & diagonal
    return distance


def _read_anls(row: Row, options: MetricOptions, rule: str) -> Reading:
    return read_best(row, rule, anls, _lowered)


ANLS = Metric(
    name="anls",
    about="Average normalised Levenshtein similarity, of DocVQA and InfographicVQA (Biten et al. 2019).",
    numbers={"": Quantity(title="ANLS", right_from=RIGHT_FROM)},
    score=lambda answers, options: {"": mean_scores(score_each(answers, anls), "ANLS, best reference, threshold 0.5")},
    read_row=_read_anls,
    other_tools=(other_tool("lmms-eval, VLMEvalKit", _read_anls),),
    modules=(
        HubModule(
            name="anls",
            about="ANLS, the score of DocVQA and InfographicVQA.",
            citation="Biten et al., Scene Text VQA, ICCV 2019",
            url="https://rrc.cvc.uab.es/?ch=17&com=tasks",
            score=anls,
            columns=SHORT_ANSWERS,
            options={"threshold": "a similarity below it counts 0."},
            example='metric.compute(predictions=["abcd"], references=[["abxy"]])["anls"]\n0.5',
        ),
    ),
)


# ---- relaxed accuracy --------------------------------------------------------------------------------

RelaxedVariant = Literal["pix2struct", "strict"]
RELAXED_VARIANTS: tuple[RelaxedVariant, ...] = ("pix2struct", "strict")
_TOLERANCE = 0.05
_NUMBER = re.compile(
    r"([-+−]?)\s*[$€£¥]?\s*([-+−]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,3}))?\s*(%?)"
)


def relaxed_accuracy(prediction: str, answers: Sequence[str], *, variant: RelaxedVariant = "pix2struct") -> float:
    """1 if the prediction fits any answer, else 0 (ChartQA, Masry et al. 2022): numbers may be 5 % off.

    Args:
        variant: ``pix2struct`` is what published numbers use: both as floats (``5%`` is 0.05), the
            prediction within 5 % of the answer; else, and for an answer of 0, the same text in any
            case. So "1,400" misses "1400", "2%" misses "2", "0.0" misses "0", and 2019 passes for 2010.
            ``strict`` reads thousands separators, currency and percent signs on either side, compares
            with 0 exactly, and wants whole numbers from 1900 to 2100 (years) exact.

    Raises:
        UserError: there is no answer, or the variant is unknown.
    """
    check_answers(answers)
    check_variant(variant, RELAXED_VARIANTS)
    fits = _pix2struct if variant == "pix2struct" else _strict
    return float(any(fits(prediction, answer) for answer in answers))


def _pix2struct(prediction: str, answer: str) -> bool:
    found, wanted = _plain_float(prediction), _plain_float(answer)
    if found is not None and wanted:
        return abs(found - wanted) / abs(wanted) <= _TOLERANCE
    return prediction.lower() == answer.lower()


def _plain_float(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _strict(prediction: str, answer: str) -> bool:
    found, wanted = read_number(prediction), read_number(answer)
    if found is None or wanted is None:
        return _lowered(prediction) == _lowered(answer)
    (value, percent), (target, target_percent) = found, wanted
    values = {value} if percent == target_percent else {value, value / 100 if percent else value * 100}
    return any(_close(each, target) for each in values)


def _close(value: float, target: float) -> bool:
    if target == 0 or (target.is_integer() and 1900 <= target <= 2100):
        return value == target
    return abs(value - target) <= _TOLERANCE * abs(target)


def read_number(text: str) -> tuple[float, bool] | None:
    """Value and whether a percent sign follows; None for anything else."""
    found = _NUMBER.fullmatch(text.strip().rstrip("."))
    if found is None:
        return None
    sign, inner, digits, exponent, percent = found.groups()
    value = float(digits.replace(",", "") + (f"e{exponent}" if exponent else ""))
    if not math.isfinite(value):
        return None
    return (-value if {sign, inner} & {"-", "−"} else value), bool(percent)


def _relaxed(options: MetricOptions) -> tuple[str, Callable[[str, Sequence[str]], float]]:
    variant: Any = options.variant or RELAXED_VARIANTS[0]
    return variant, lambda text, references: relaxed_accuracy(text, references, variant=variant)


def _score_relaxed(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    variant, score = _relaxed(options)
    return {"": mean_scores(score_each(answers, score), f"relaxed accuracy (5 %), {variant}", binary=True)}


def _read_relaxed(row: Row, options: MetricOptions, rule: str) -> Reading:
    return read_best(row, rule, _relaxed(options)[1], str)


RELAXED_ACCURACY = Metric(
    name="relaxed_accuracy",
    about="Exact match, or a number at most 5 % off, of ChartQA (Masry et al. 2022).",
    numbers={"": Quantity(title="relaxed accuracy", right_from=RIGHT_FROM)},
    score=_score_relaxed,
    options=("variant",),
    variants=RELAXED_VARIANTS,
    read_row=_read_relaxed,
    other_tools=(other_tool("lmms-eval, VLMEvalKit", _read_relaxed, variant="pix2struct"),),
    modules=(
        HubModule(
            name="relaxed_accuracy",
            about="Relaxed accuracy, the score of ChartQA: numbers may be 5 % off.",
            citation="Masry et al., ChartQA, ACL Findings 2022",
            url="https://github.com/vis-nlp/ChartQA",
            score=relaxed_accuracy,
            columns=SHORT_ANSWERS,
            options={"variant": "pix2struct or strict."},
            example=(
                'two = dict(predictions=["14.7", "2019"], references=[["14"], ["2010"]])\n'
                'found = metric.compute(**two, variant="strict")\n'
                'found["relaxed_accuracy"]\n0.5'
            ),
        ),
    ),
)


# ---- GQA ---------------------------------------------------------------------------------------------

GqaVariant = Literal["normalized", "official", "lmms-eval", "vlmevalkit"]
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_GQA_RULES: dict[str, Callable[[str], str]] = {
    "normalized": lambda text: " ".join(text.lower().translate(_NO_PUNCTUATION).split()),
    "official": lambda text: text,
    "lmms-eval": lambda text: text.lower().translate(_NO_PUNCTUATION),
    "vlmevalkit": lambda text: text.strip().lower(),
}


def gqa_accuracy(prediction: str, answers: Sequence[str], *, variant: GqaVariant = "normalized") -> float:
    """1 if the prediction is an answer, else 0 (Hudson and Manning 2019).

    Args:
        variant: ``normalized`` drops case, punctuation and outer blanks on both sides. ``official``
            compares the texts as they stand, as GQA's own code does. ``lmms-eval`` drops case and
            punctuation but no blanks ("yes " is wrong), ``vlmevalkit`` case and outer blanks but no
            punctuation ("yes." is wrong).

    Raises:
        UserError: there is no answer, or the variant is unknown.
    """
    check_answers(answers)
    check_variant(variant, _GQA_RULES)
    normalize = _GQA_RULES[variant]
    return float(normalize(prediction) in {normalize(answer) for answer in answers})


def _gqa(options: MetricOptions) -> tuple[str, Callable[[str, Sequence[str]], float]]:
    variant: Any = options.variant or "normalized"
    return variant, lambda text, references: gqa_accuracy(text, references, variant=variant)


def _score_gqa(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    variant, score = _gqa(options)
    return {"": mean_scores(score_each(answers, score), f"exact match, GQA rule {variant}", binary=True)}


def _read_gqa(row: Row, options: MetricOptions, rule: str) -> Reading:
    variant, score = _gqa(options)
    return read_best(row, rule, score, _GQA_RULES[variant])


GQA = Metric(
    name="gqa",
    about="Exact match with the one answer of GQA (Hudson and Manning 2019).",
    numbers={"": Quantity(title="GQA accuracy", right_from=RIGHT_FROM)},
    score=_score_gqa,
    options=("variant",),
    variants=tuple(_GQA_RULES),
    read_row=_read_gqa,
    other_tools=(
        other_tool("official code", _read_gqa, variant="official"),
        other_tool("lmms-eval", _read_gqa, variant="lmms-eval"),
        other_tool("VLMEvalKit", _read_gqa, variant="vlmevalkit"),
    ),
    modules=(
        HubModule(
            name="gqa_accuracy",
            about="GQA accuracy by four rules.",
            citation="Hudson and Manning, GQA, CVPR 2019",
            url="https://cs.stanford.edu/people/dorarad/gqa/evaluate.html",
            score=gqa_accuracy,
            columns=SHORT_ANSWERS,
            options={"variant": "normalized, official, lmms-eval or vlmevalkit."},
            example='metric.compute(predictions=["Yes."], references=[["yes"]])["gqa_accuracy"]\n1.0',
        ),
    ),
)
