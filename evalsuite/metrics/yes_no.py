"""Yes or no: reading it, and POPE's five numbers (Li et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evalsuite.metrics.captions import check_pairs
from evalsuite.metrics.checks import check_variant
from evalsuite.metrics.normalize import vlmevalkit_marks

YesNo = Literal["yes", "no"]
YesNoVariant = Literal["words", "official", "mme", "mme-lmms-eval", "exact", "vlmevalkit"]
VARIANTS: tuple[YesNoVariant, ...] = ("words", "official", "mme", "mme-lmms-eval", "exact", "vlmevalkit")
_WORD = re.compile(r"(?<![\w'])(?:yes|no)(?![\w'])", re.IGNORECASE)
_START = re.compile(r"\W*(yes|no)(?![\w'])", re.IGNORECASE)


def parse_yes_no(text: str, *, variant: YesNoVariant = "words") -> YesNo | None:
    """What a reply says, or None.

    Args:
        variant: ``words``: the first word if it is yes or no, else whichever of the two occurs as a
            word, if only one does. ``official`` is POPE's evaluation code: ``no`` if the text before
            the first full stop has the word No, no or not, else ``yes``, whatever it says. ``mme`` is
            MME's: yes or no within the first four characters; ``mme-lmms-eval`` is lmms-eval's, which first
            drops blanks around the text and all full stops, and takes y and n. ``exact``: the text
            itself, in any case. ``vlmevalkit``: yes or no as a word, if only one of them occurs, after
            its punctuation rule.

    Raises:
        UserError: the variant is unknown.
    """
    check_variant(variant, VARIANTS)
    if variant == "official":
        first = text.split(".", 1)[0].replace(",", "").split(" ")
        return "no" if {"No", "not", "no"} & set(first) else "yes"
    if variant == "exact":
        return _as_yes_no(text.strip().lower())
    if variant == "mme":
        return _at_the_start(text.lower())
    if variant == "mme-lmms-eval":
        text = text.lower().strip().replace(".", "")
        return "yes" if text == "y" else "no" if text == "n" else _at_the_start(text)
    if variant == "vlmevalkit":
        return _the_only({"yes", "no"} & set(vlmevalkit_marks(text.lower()).split()))
    start = _START.match(text)
    if start:
        return _as_yes_no(start[1].lower())
    return _the_only({word.lower() for word in _WORD.findall(text)})


def _at_the_start(text: str) -> YesNo | None:
    return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else None


def _the_only(said: set[str]) -> YesNo | None:
    return _as_yes_no(said.pop()) if len(said) == 1 else None


def _as_yes_no(text: str) -> YesNo | None:
    return "yes" if text == "yes" else "no" if text == "no" else None


@dataclass(frozen=True)
class YesNoScores:
    """Scores of yes/no questions; "yes" is the positive class.

    Attributes:
        accuracy: right answers among all questions.
        precision: right among those answered yes; 0 if none was.
        recall: found among those whose answer is yes; 0 if there is none.
        f1: harmonic mean of the two.
        yes_ratio: share of all questions that were *answered* yes.
        unparsed: number of predictions that say neither; they are wrong and stay in every denominator.
        per_sample: id → 1 right, 0 wrong.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float
    unparsed: int
    per_sample: dict[str, float]


def pope(
    predictions: Mapping[str, str], references: Mapping[str, str], *, variant: YesNoVariant = "words"
) -> YesNoScores:
    """POPE's scores of raw replies against "yes" and "no".

    Raises:
        UserError: ids differ, there are none, a reference is neither yes nor no, or an unknown variant.
    """
    check_pairs(predictions, references, ("yes", "no"))
    said = {key: parse_yes_no(text, variant=variant) for key, text in predictions.items()}
    truth = {key: references[key].strip().lower() for key in predictions}
    right = {key: float(said[key] == truth[key]) for key in said}
    answered_yes = sum(one == "yes" for one in said.values())
    hits = sum(one == "yes" == truth[key] for key, one in said.items())
    precision, recall, f1 = precision_recall_f1(hits, answered_yes, sum(one == "yes" for one in truth.values()))
    return YesNoScores(
        accuracy=sum(right.values()) / len(right),
        precision=precision,
        recall=recall,
        f1=f1,
        yes_ratio=answered_yes / len(said),
        unparsed=sum(one is None for one in said.values()),
        per_sample=right,
    )


def precision_recall_f1(hits: int, predicted: int, actual: int) -> tuple[float, float, float]:
    """From counts; a ratio without denominator is 0."""
    precision = hits / predicted if predicted else 0.0
    recall = hits / actual if actual else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0
