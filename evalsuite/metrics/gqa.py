"""GQA: the one answer, word for word, by three rules in public use and one that forgives spelling."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Literal

from evalsuite.metrics.checks import check_answers, check_variant

GqaVariant = Literal["normalized", "official", "lmms-eval", "vlmevalkit"]
_WITHOUT_MARKS = str.maketrans("", "", string.punctuation)
_RULES: dict[str, Callable[[str], str]] = {
    "normalized": lambda text: " ".join(text.lower().translate(_WITHOUT_MARKS).split()),
    "official": lambda text: text,
    "lmms-eval": lambda text: text.lower().translate(_WITHOUT_MARKS),
    "vlmevalkit": lambda text: text.strip().lower(),
}
VARIANTS = tuple(_RULES)


def gqa_accuracy(prediction: str, answers: Sequence[str], *, variant: GqaVariant = "normalized") -> float:
    """1 if the prediction is an answer, else 0.

    Args:
        variant: ``normalized`` drops case, punctuation and outer blanks on both sides. ``official``
            compares the texts as they stand, as GQA's own code does. ``lmms-eval`` drops case and
            punctuation but no blanks ("yes " is wrong), ``vlmevalkit`` case and outer blanks but no
            punctuation ("yes." is wrong).

    Raises:
        UserError: there is no answer, or the variant is unknown.
    """
    check_answers(answers)
    check_variant(variant, VARIANTS)
    rule = _RULES[variant]
    return float(rule(prediction) in {rule(answer) for answer in answers})


def normalized_as(text: str, variant: GqaVariant) -> str:
    """What is compared under a variant."""
    return _RULES[variant](text)
