"""How each metric reads one reply, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.analysis.results import Row
from evalsuite.metrics import (
    anls,
    exact_match,
    gqa_accuracy,
    mmmu_open,
    parse_choice,
    parse_yes_no,
    relaxed_accuracy,
    rouge_l,
    vqa_accuracy,
)
from evalsuite.metrics.choice import ChoiceVariant
from evalsuite.metrics.gqa import normalized_as
from evalsuite.metrics.open_ended import open_candidates
from evalsuite.metrics.tokenizers import caption_tokens
from evalsuite.normalize.vqa import NORMALIZERS, Normalizer
from evalsuite.scoring.settings import MetricSettings


@dataclass(frozen=True)
class Reading:
    """One rule applied to one reply.

    Attributes:
        rule: whose rule.
        text: what the reply is after normalising, or None if it was not read.
        matched: what it was found equal to, with how often; '' for nothing.
        score: 0 to 1, or None where the rule gives a row no score.
    """

    rule: str
    text: str | None
    matched: str
    score: float | None


def matches(text: str, answers: Sequence[str], normalize: Normalizer) -> str:
    same = [answer for answer in answers if normalize(answer) == text]
    return f"{len(same)} of {len(answers)}" if same else ""


def _answer(row: Row) -> str | None:
    return row["extracted"]


def _vqa(row: Row, settings: MetricSettings, rule: str) -> Reading:
    text, normalize = _answer(row), NORMALIZERS[settings.normalizer]
    if text is None:
        return Reading(rule, None, "", 0.0)
    answers = row["references"]
    if len(answers) == 1:
        return Reading(
            rule, normalize(text), matches(normalize(text), answers, normalize), _exact(text, answers, settings)
        )
    raw = settings.unanimous == "raw" and len(set(answers)) == 1
    normalize = NORMALIZERS["none"] if raw else normalize
    score = vqa_accuracy(text, answers, normalizer=settings.normalizer, unanimous=settings.unanimous)
    return Reading(rule, normalize(text), matches(normalize(text), answers, normalize), score)


def _exact(text: str, answers: Sequence[str], settings: MetricSettings) -> float:
    return exact_match(text, answers, normalizer=settings.normalizer)


def _accuracy(row: Row, settings: MetricSettings, rule: str) -> Reading:
    text, normalize = _answer(row), NORMALIZERS[settings.normalizer]
    if text is None:
        return Reading(rule, None, "", 0.0)
    found = normalize(text)
    return Reading(rule, found, matches(found, row["references"], normalize), _exact(text, row["references"], settings))


def _best(row: Row, rule: str, score: Callable[[str, list[str]], float], shown: Callable[[str], str]) -> Reading:
    """For scores that are the best over the references."""
    text = _answer(row)
    if text is None:
        return Reading(rule, None, "", 0.0)
    scores = [score(text, [answer]) for answer in row["references"]]
    best = max(scores)
    return Reading(rule, shown(text), row["references"][scores.index(best)] if best else "", best)


def _anls(row: Row, settings: MetricSettings, rule: str) -> Reading:
    return _best(row, rule, anls, lambda text: " ".join(text.lower().split()))


def _relaxed(row: Row, settings: MetricSettings, rule: str) -> Reading:
    variant: Any = settings.variant or "pix2struct"
    return _best(row, rule, lambda text, given: relaxed_accuracy(text, given, variant=variant), str)


def _gqa(row: Row, settings: MetricSettings, rule: str) -> Reading:
    variant: Any = settings.variant or "normalized"
    score = lambda text, given: gqa_accuracy(text, given, variant=variant)  # noqa: E731
    return _best(row, rule, score, lambda text: normalized_as(text, variant))


def _choice(row: Row, settings: MetricSettings, rule: str) -> Reading:
    if not row.get("choices"):
        return _open(row, settings, rule)
    variant: Any = settings.variant
    letter = _answer(row) if variant is None else _letter(row, variant)
    right = letter is not None and letter in row["references"]
    return Reading(rule, letter, letter if right and letter else "", float(right))


def _letter(row: Row, variant: ChoiceVariant) -> str | None:
    return parse_choice(row["raw"] or "", row["choices"], variant=variant, key=row["sample_id"])


def _open(row: Row, settings: MetricSettings, rule: str) -> Reading:
    text = _answer(row)
    if text is None:
        return Reading(rule, None, "", 0.0)
    pieces, numbers = open_candidates(text)
    score = mmmu_open(text, row["references"])
    return Reading(rule, " | ".join([*pieces, *map(str, numbers)]), row["references"][0] if score else "", score)


def _yes_no(row: Row, settings: MetricSettings, rule: str) -> Reading:
    variant: Any = settings.variant
    said = _answer(row) if variant is None else parse_yes_no(row["raw"] or "", variant=variant)
    right = said is not None and said.lower() == row["references"][0].strip().lower()
    return Reading(rule, said, said if right and said else "", float(right))


def _caption(row: Row, settings: MetricSettings, rule: str) -> Reading:
    """Tokens, and the reference that shares most with them (ROUGE-L)."""
    text = _answer(row)
    if text is None:
        return Reading(rule, None, "", None)
    tokens = caption_tokens(settings.tokenize)
    scores = [rouge_l({"": text}, {"": [one]}, tokenize=settings.tokenize).corpus for one in row["references"]]
    return Reading(rule, " ".join(tokens(text)), " ".join(tokens(row["references"][scores.index(max(scores))])), None)


Rule = Callable[[Row, MetricSettings, str], Reading]
RULES: dict[str, Rule] = {
    "accuracy": _accuracy, "vqa_accuracy": _vqa, "anls": _anls, "relaxed_accuracy": _relaxed, "gqa": _gqa,
    "multiple_choice": _choice, "mmmu": _choice, "pope": _yes_no, "mme": _yes_no,
    "bleu": _caption, "rouge_l": _caption, "cider": _caption,
}  # fmt: skip
