"""Relaxed accuracy, the score of ChartQA (Masry et al. 2022): numbers may be 5 % off."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from evalsuite.metrics.checks import check_answers, check_variant

RelaxedVariant = Literal["pix2struct", "strict"]
VARIANTS: tuple[RelaxedVariant, ...] = ("pix2struct", "strict")
_TOLERANCE = 0.05
_NUMBER = re.compile(
    r"([-+−]?)\s*[$€£¥]?\s*([-+−]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,3}))?\s*(%?)"
)


def relaxed_accuracy(prediction: str, answers: Sequence[str], *, variant: RelaxedVariant = "pix2struct") -> float:
    """1 if the prediction fits any answer, else 0.

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
    check_variant(variant, VARIANTS)
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
    found, wanted = _read_number(prediction), _read_number(answer)
    if found is None or wanted is None:
        return " ".join(prediction.lower().split()) == " ".join(answer.lower().split())
    (value, percent), (target, target_percent) = found, wanted
    values = {value} if percent == target_percent else {value, value / 100 if percent else value * 100}
    return any(_close(one, target) for one in values)


def _close(value: float, target: float) -> bool:
    if target == 0 or (target.is_integer() and 1900 <= target <= 2100):
        return value == target
    return abs(value - target) <= _TOLERANCE * abs(target)


def _read_number(text: str) -> tuple[float, bool] | None:
    """Value and whether a percent sign follows; None for anything else."""
    found = _NUMBER.fullmatch(text.strip().rstrip("."))
    if found is None:
        return None
    sign, inner, digits, exponent, percent = found.groups()
    value = float(digits.replace(",", "") + (f"e{exponent}" if exponent else ""))
    if not math.isfinite(value):
        return None
    return (-value if {sign, inner} & {"-", "−"} else value), bool(percent)
