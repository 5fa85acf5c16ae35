"""Whether an answer contains the reference: for transcriptions, and for replies in whole sentences."""

from __future__ import annotations

import re
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
)

ContainsVariant = Literal["plain", "words", "ocrbench", "lmms-eval"]
# OCRBench's formulas, by the name of their data set or their category: blanks mean nothing there, case does.
_FORMULAS = {"HME100k", "Handwritten Mathematical Expression Recognition"}
_FULL_WIDTH = {0x3000: " ", **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}}


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _ocrbench(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def _lmms_eval(text: str) -> str:
    return _ocrbench(text.translate(_FULL_WIDTH))


def _formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


_RULES: dict[str, Callable[[str], str]] = {
    "plain": _folded,
    "words": _folded,
    "ocrbench": _ocrbench,
    "lmms-eval": _lmms_eval,
}
CONTAINS_VARIANTS = tuple(_RULES)


def contains(
    prediction: str, answers: Sequence[str], *, variant: ContainsVariant = "plain", formula: bool = False
) -> float:
    """1 if any answer is part of the prediction, else 0. An empty answer is part of every text.

    Args:
        variant: ``plain``: in any case, with single blanks ("cat" is part of "concatenate"). ``words``: the same,
            at the borders of words. ``ocrbench``: OCRBench's rule (Liu et al. 2023), which keeps blanks but for
            line breaks. ``lmms-eval``: that with full-width letters as plain ones.
        formula: of the last two: the answer is a formula. Blanks are dropped and case counts.

    Raises:
        UserError: there is no answer, or the variant is unknown.
    """
    check_answers(answers)
    check_variant(variant, _RULES)
    normalize = _normalizer(variant, formula)
    text = normalize(prediction)
    if variant == "words":
        return float(any(_has_words(text, normalize(answer)) for answer in answers))
    return float(any(normalize(answer) in text for answer in answers))


def _normalizer(variant: str, formula: bool) -> Callable[[str], str]:
    return _formula if formula and variant in ("ocrbench", "lmms-eval") else _RULES[variant]


def _has_words(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _variant(options: MetricOptions) -> Any:
    return options.variant or "plain"


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    variant = _variant(options)
    formulas = [not _FORMULAS.isdisjoint(_texts(answers, row)) for row in range(len(answers.ids))]
    values = [
        0.0 if text is None else contains(text, references, variant=variant, formula=formula)
        for text, references, formula in zip(answers.texts, answers.references, formulas, strict=True)
    ]
    label = f"the answer contains a reference, rule {variant}"
    if variant in ("ocrbench", "lmms-eval"):
        label += f"; {sum(formulas):,} rows are formulas, compared without blanks"
    return {"": mean_scores(values, label, binary=True)}


def _texts(answers: Answers, row: int) -> set[str]:
    """What slices and facts say of a row."""
    known = [*(answers.slices[row].values() if answers.slices else ())]
    known += [value for value in (answers.facts[row].values() if answers.facts else ()) if isinstance(value, str)]
    return set(known)


def _read(row: Row, options: MetricOptions, rule: str) -> Reading:
    text, variant = row["extracted"], _variant(options)
    if text is None:
        return Reading(rule, None, "", 0.0)
    formula = not _FORMULAS.isdisjoint(value for key, value in row.items() if key.startswith("slice_"))
    found = [one for one in row["references"] if contains(text, [one], variant=variant, formula=formula)]
    return Reading(rule, _normalizer(variant, formula)(text), found[0] if found else "", float(bool(found)))


CONTAINS = Metric(
    name="contains",
    about="Share of answers that contain a reference, OCRBench's rule among others (Liu et al. 2023).",
    numbers={"": Quantity(title="contains the answer", right_from=RIGHT_FROM)},
    score=_score,
    options=("variant",),
    variants=CONTAINS_VARIANTS,
    read_row=_read,
    other_tools=(
        other_tool("VLMEvalKit", _read, variant="ocrbench"),
        other_tool("lmms-eval", _read, variant="lmms-eval"),
    ),
    modules=(
        HubModule(
            name="contains",
            about="Whether the prediction contains an answer, by OCRBench's and other rules.",
            citation="Liu et al., OCRBench, 2023",
            url="https://github.com/Yuliang-Liu/MultimodalOCR",
            score=contains,
            columns=SHORT_ANSWERS,
            options={"variant": "plain, words, ocrbench or lmms-eval.", "formula": "drop blanks and keep case."},
            example='metric.compute(predictions=["It says EXIT."], references=[["exit"]])["contains"]\n1.0',
        ),
    ),
)
