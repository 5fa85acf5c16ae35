"""Multiple choice, and MMMU, which mixes it with open questions.

A reply to a multiple choice is read for the option it names; a reply to an open question of MMMU for the
short texts and numbers that conclude it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

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
    in_part,
    mean_scores,
    other_tool,
    rule_of,
)
from evalsuite.reading.choice import LETTERS
from evalsuite.reading.choice_rules import CHOICE_VARIANTS, ChoiceVariant, parse_choice
from winnow.errors import UserError


def multiple_choice_accuracy(
    prediction: str,
    answers: Sequence[str],
    choices: Sequence[str],
    *,
    variant: ChoiceVariant = "lenient",
    key: str = "",
) -> float:
    """1 if the option that the prediction names is among ``answers``, else 0.

    A prediction that names no option is wrong. An answer is the letter of an option, or its text.

    Raises:
        UserError: no answer, one that is neither letter nor text of an option, no choice, more than 26, or an
            unknown variant.
    """
    check_answers(answers)
    return _is_right(parse_choice(prediction, choices, variant=variant, key=key), answers, choices)


def letter_of(reference: str, choices: Sequence[str]) -> str:
    """The letter of the option that a reference means: ``B``, ``(b)`` or the text of option B in any case.

    Raises:
        UserError: it is neither. A number is not taken for a position, since counts start at 0 or at 1.
    """
    letters, plain = LETTERS[: len(choices)], reference.strip().casefold()
    label = plain.strip("().: ").upper()
    if len(label) == 1 and label in letters:
        return label
    same = [letter for letter, text in zip(letters, choices, strict=False) if text.strip().casefold() == plain]
    if len(same) == 1:
        return same[0]
    fault = "the text of several options" if same else f"neither a letter from A to {letters[-1]} nor an option's text"
    hint = 'if it is a position, `answer_map: {"0": A, "1": B}` in the task says which'
    raise UserError(f"the reference {reference!r} is {fault}; {hint if plain.isdigit() else 'mend the row'}")


def _is_right(letter: str | None, answers: Sequence[str], choices: Sequence[str], where: str = "") -> float:
    try:
        wanted = {letter_of(answer, choices) for answer in answers}
    except UserError as error:
        raise UserError(f"{where}{error}") from error
    return float(letter is not None and letter.strip().upper() in wanted)


# ---- MMMU's open questions ---------------------------------------------------------------------------

_CONCLUDES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def mmmu_open(prediction: str, answers: Sequence[str]) -> float:
    """1 if MMMU's evaluation code accepts the prediction, else 0.

    Of every line the shortest piece after a word like "is" or "so" is taken (the whole reply if there is
    no such word), with all numbers in it. A text answer must be part of such a piece; a number must
    equal one of the numbers after rounding to two decimals. Its quirks are kept: "cat" is found in
    "concatenate", and "1,000,000" also yields 0.

    Raises:
        UserError: there is no answer.
    """
    check_answers(answers)
    pieces, numbers = open_candidates(prediction)
    for answer in answers:
        number = _number(answer)
        if number is not None and number in numbers:
            return 1.0
        if number is None and any(text in piece for text in _texts(answer) for piece in pieces):
            return 1.0
    return 0.0


def open_candidates(reply: str) -> tuple[list[str], list[float]]:
    """Texts and numbers that a reply offers as its answer, sorted."""
    texts: set[str] = set()
    numbers: set[float] = set()
    for piece in _conclusions(reply):
        for text in (piece, *(found for pattern in _NUMBERS for found in pattern.findall(piece))):
            number = _number(text)
            if number is None:
                texts.update(_texts(text))
            else:
                numbers.add(number)
    return sorted(texts), sorted(numbers)


def _conclusions(reply: str) -> list[str]:
    text = reply.strip().strip(".").lower()
    lines = text.split("\n")
    found = []
    for position, line in enumerate(lines):
        words = (*_CONCLUDES, "=") if position == len(lines) - 1 else _CONCLUDES
        tails = [line.split(word)[-1].strip() for word in words if word in line]
        # An empty piece gives way to the next one, as in the original.
        shortest = ""
        for tail in tails:
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in _TRIVIAL:
            found.append(shortest)
    return found or [text]


def _number(text: str) -> float | None:
    try:
        return round(float(text.strip().replace(",", "")), 2)
    except ValueError:
        return None


def _texts(text: str) -> list[str]:
    """Lower case; a single character only matches beside a blank."""
    plain = text.strip().lower()
    return [f" {plain}", f"{plain} "] if len(plain) == 1 else [plain]


# ---- as metrics --------------------------------------------------------------------------------------


def _letter(row: Row, options: MetricOptions) -> str | None:
    """The option that a reply names: by the task's extraction, or by the variant's own rule."""
    variant: Any = options.variant
    if variant is None:
        extracted: str | None = row["extracted"]
        return extracted
    if row["raw"] is None or not row["choices"]:
        return None
    return parse_choice(row["raw"], row["choices"], variant=variant, key=row["sample_id"])


def _choice_scores(answers: Answers, options: MetricOptions) -> list[float]:
    rows = zip(answers.ids, answers.texts, answers.raws, answers.choices, strict=True)
    letters = [
        _letter({"sample_id": key, "extracted": text, "raw": raw, "choices": choices}, options)
        for key, text, raw, choices in rows
    ]
    listed = zip(answers.ids, letters, answers.references, answers.choices, strict=True)
    return [_is_right(letter, given, choices, f"{key}: ") if choices else 0.0 for key, letter, given, choices in listed]


def _score_choice(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    for key, choices in zip(answers.ids, answers.choices, strict=True):
        if not choices:
            raise UserError(f"{key}: has no options, which multiple_choice needs")
    return {"": mean_scores(_choice_scores(answers, options), f"right option, {rule_of(options)}", binary=True)}


def _score_mmmu(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    """All questions and, where both kinds occur, each kind alone."""
    chosen = np.array([bool(choices) for choices in answers.choices])
    open_scores = [
        0.0 if text is None or choices else mmmu_open(text, given)
        for text, given, choices in zip(answers.texts, answers.references, answers.choices, strict=True)
    ]
    values = np.where(chosen, _choice_scores(answers, options), open_scores)
    rules = f"MMMU rules, {rule_of(options)}"
    found = {"": mean_scores(values, f"micro-average over questions, {rules}", binary=True)}
    for kind, mask in (("multiple_choice", chosen), ("open", ~chosen)):
        if mask.any() and not mask.all():
            found[f"_{kind}"] = in_part(values, mask, f"{kind.replace('_', ' ')} questions, {rules}")
    return found


def _read_choice(row: Row, options: MetricOptions, rule: str) -> Reading:
    if not row.get("choices"):
        return _read_open(row, rule)
    letter = _letter({**row, "raw": row["raw"] or ""}, options)
    score = _is_right(letter, row["references"], row["choices"])
    return Reading(rule, letter, letter if score and letter else "", score)


def _read_open(row: Row, rule: str) -> Reading:
    text = row["extracted"]
    if text is None:
        return Reading(rule, None, "", 0.0)
    pieces, numbers = open_candidates(text)
    score = mmmu_open(text, row["references"])
    return Reading(rule, " | ".join([*pieces, *map(str, numbers)]), row["references"][0] if score else "", score)


MULTIPLE_CHOICE = Metric(
    name="multiple_choice",
    about="Share of questions where the reply names the right option.",
    numbers={"": Quantity(title="multiple choice", right_from=RIGHT_FROM)},
    score=_score_choice,
    options=("variant",),
    variants=CHOICE_VARIANTS,
    reads_raw=True,
    references="letters",
    needs=("choices",),
    read_row=_read_choice,
    other_tools=(other_tool("ScienceQA code", _read_choice, variant="scienceqa"),),
    modules=(
        HubModule(
            name="multiple_choice",
            about="Multiple choice by MMMU's or ScienceQA's rules, without the coin toss.",
            citation="Yue et al., MMMU, CVPR 2024",
            url="https://github.com/MMMU-Benchmark/MMMU",
            score=multiple_choice_accuracy,
            columns={**SHORT_ANSWERS, "choices": "texts of the options of each question; the first is A."},
            lists=("references", "choices"),
            options={"variant": "mmmu, mmmu-official, lenient or scienceqa."},
            example=(
                'found = metric.compute(predictions=["(B)"], references=[["B"]], choices=[["cat", "dog"]])\n'
                'found["multiple_choice"]\n1.0'
            ),
        ),
    ),
)

MMMU = Metric(
    name="mmmu",
    about="MMMU's questions with options and open questions (Yue et al. 2024).",
    numbers={
        "": Quantity(title="MMMU", right_from=RIGHT_FROM),
        "_multiple_choice": Quantity(title="MMMU multiple choice", right_from=RIGHT_FROM),
        "_open": Quantity(title="MMMU open", right_from=RIGHT_FROM),
    },
    score=_score_mmmu,
    options=("variant",),
    variants=CHOICE_VARIANTS,
    reads_raw=True,
    references="letters",
    read_row=_read_choice,
    other_tools=(
        other_tool("official code", _read_choice, variant="mmmu-official"),
        other_tool("lmms-eval", _read_choice, variant="lmms-eval"),
    ),
    modules=(
        HubModule(
            name="mmmu_open",
            about="MMMU's open questions.",
            citation="Yue et al., MMMU, CVPR 2024",
            url="https://github.com/MMMU-Benchmark/MMMU",
            score=mmmu_open,
            columns=SHORT_ANSWERS,
            example='metric.compute(predictions=["The answer is 42."], references=[["42"]])["mmmu_open"]\n1.0',
        ),
    ),
)
