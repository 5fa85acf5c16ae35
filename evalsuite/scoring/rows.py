"""Metrics that score each row by itself; the whole is their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evalsuite.metrics import anls, exact_match, gqa_accuracy, parse_choice, relaxed_accuracy, vqa_accuracy
from evalsuite.metrics.open_ended import mmmu_open
from evalsuite.scoring.columns import Answered, Column
from evalsuite.scoring.settings import MetricSettings
from evalsuite.statistics import Floats, mean_of_sums, mean_sums

ScoreOne = Callable[[str, Sequence[str]], float]


def _column(name: str, values: Sequence[float], variant: str, *, binary: bool) -> Column:
    return Column(name, np.array(values, dtype=np.float64), mean_sums(values), mean_of_sums, variant, binary=binary)


def _each(answered: Answered, score: ScoreOne) -> list[float]:
    pairs = zip(answered.texts, answered.references, strict=True)
    return [0.0 if text is None else score(text, references) for text, references in pairs]


def _accuracy(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    values = _each(answered, lambda text, given: exact_match(text, given, normalizer=settings.normalizer))
    return [_column(name, values, f"exact match with any reference, {_normalizer(settings)}", binary=True)]


def _vqa_accuracy(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    def one(text: str, references: Sequence[str]) -> float:
        if len(references) == 1:  # the variant says so, so no warning for each row
            return exact_match(text, references, normalizer=settings.normalizer)
        return vqa_accuracy(text, references, normalizer=settings.normalizer, unanimous=settings.unanimous)

    values = _each(answered, one)
    single = sum(len(references) == 1 for references in answered.references)
    variant = f"leave-one-out agreement, {_normalizer(settings)}, unanimous answers: {settings.unanimous}"
    if single == len(values):
        variant = f"exact match, {_normalizer(settings)}: every row has one reference, so agreement is undefined"
    elif single:
        variant += f"; exact match on the {single:,} rows with one reference"
    return [_column(name, values, variant, binary=single == len(values))]


def _normalizer(settings: MetricSettings) -> str:
    return "verbatim" if settings.normalizer == "none" else f"{settings.normalizer} VQA normalisation"


def _anls(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    return [_column(name, _each(answered, anls), "ANLS, best reference, threshold 0.5", binary=False)]


def _relaxed(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    variant = settings.variant or "pix2struct"
    values = _each(answered, lambda text, given: relaxed_accuracy(text, given, variant=variant))  # type: ignore[arg-type]
    return [_column(name, values, f"relaxed accuracy (5 %), {variant}", binary=True)]


def _gqa(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    variant = settings.variant or "normalized"
    values = _each(answered, lambda text, given: gqa_accuracy(text, given, variant=variant))  # type: ignore[arg-type]
    return [_column(name, values, f"exact match, GQA rule {variant}", binary=True)]


def _multiple_choice(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    values = [_choice_value(answered, row, settings) for row in range(len(answered.ids))]
    return [_column(name, values, f"right option, {_reading(settings)}", binary=True)]


def _mmmu(name: str, answered: Answered, settings: MetricSettings) -> list[Column]:
    """All questions, and the two kinds apart; a column of one kind is NaN on the other."""
    chosen = np.array([bool(choices) for choices in answered.choices])
    values = np.array(
        [
            _choice_value(answered, row, settings) if chosen[row] else _open_value(answered, row)
            for row in range(len(answered.ids))
        ]
    )
    reading = f"MMMU rules, {_reading(settings)}"
    columns = [_column(name, values.tolist(), f"micro-average over questions, {reading}", binary=True)]
    for kind, mask in (("multiple_choice", chosen), ("open", ~chosen)):
        if mask.any() and not mask.all():
            columns.append(_part(f"{name}_{kind}", values, mask, f"{kind.replace('_', ' ')} questions, {reading}"))
    return columns


def _part(name: str, values: Floats, mask: np.ndarray, variant: str) -> Column:
    sums = np.stack([values * mask, mask.astype(np.float64)], axis=1)
    return Column(name, np.where(mask, values, np.nan), sums, mean_of_sums, variant)


def _open_value(answered: Answered, row: int) -> float:
    text = answered.texts[row]
    return 0.0 if text is None else mmmu_open(text, answered.references[row])


def _choice_value(answered: Answered, row: int, settings: MetricSettings) -> float:
    letter = answered.texts[row]
    if settings.variant is not None:
        raw, choices = answered.raws[row], answered.choices[row]
        letter = None
        if raw is not None and choices:
            letter = parse_choice(raw, choices, variant=settings.variant, key=answered.ids[row])  # type: ignore[arg-type]
    if letter is None:
        return 0.0
    return float(letter.strip().upper() in {one.strip().upper() for one in answered.references[row]})


def _reading(settings: MetricSettings) -> str:
    return f"read by the rule {settings.variant}" if settings.variant else "read by the task's extraction"


BY_ROW: dict[str, Callable[[str, Answered, MetricSettings], list[Column]]] = {
    "accuracy": _accuracy,
    "vqa_accuracy": _vqa_accuracy,
    "anls": _anls,
    "relaxed_accuracy": _relaxed,
    "gqa": _gqa,
    "multiple_choice": _multiple_choice,
    "mmmu": _mmmu,
}
