"""Answers that are numbers: equal after rounding, within a tolerance, or by MathVista's rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    mean_scores,
    read_best,
    score_each,
)
from evalsuite.metrics.short_answer import edit_distance, read_number
from evalsuite.reading.choice import LETTERS
from evalsuite.reading.number import read_number as read_number_in
from winnow.errors import UserError

_LIST = re.compile(r"\[[^\[\]]*\]")


def number_accuracy(prediction: str, answers: Sequence[str], *, tolerance: float = 0.0) -> float:
    """1 if the prediction is a number that equals an answer after rounding to the answer's decimals, else 0.

    "3.14159" and "$3.14" equal "3.14"; "3" does not. Thousands separators, currency and percent signs are read
    on both sides ("50%" equals "50" and "0.5"). An answer that is no number is compared as text.

    Args:
        tolerance: share of the answer by which the prediction may be off besides; 0.05 is 5 %.

    Raises:
        UserError: there is no answer.
    """
    check_answers(answers)
    return float(any(_equal(prediction, answer, tolerance) for answer in answers))


def _equal(prediction: str, answer: str, tolerance: float) -> bool:
    found, wanted = read_number(prediction), read_number(answer)
    if found is None or wanted is None:
        return wanted is None and prediction.strip().casefold() == answer.strip().casefold()
    (value, percent), (target, target_percent) = found, wanted
    values = {value} if percent == target_percent else {value, value / 100 if percent else value * 100}
    digits = decimals(answer)
    return any(round(each, digits) == round(target, digits) or abs(each - target) <= tolerance * abs(target)
               for each in values)  # fmt: skip


def decimals(number: str) -> int:
    """Digits behind the point of a number as text."""
    whole = number.strip().rstrip("%").strip()
    return len(whole.partition(".")[2]) if "e" not in whole.lower() else 15


def _number(options: MetricOptions) -> Callable[[str, Sequence[str]], float]:
    return lambda text, references: number_accuracy(text, references, tolerance=options.tolerance)


def _score_number(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    within = f" or within {100 * options.tolerance:g} % of it" if options.tolerance else ""
    variant = f"equal to a reference after rounding to its decimals{within}"
    return {"": mean_scores(score_each(answers, _number(options)), variant, binary=True)}


def _read_number(row: Row, options: MetricOptions, rule: str) -> Reading:
    return read_best(row, rule, _number(options), str)


NUMBER = Metric(
    name="number",
    about="Share of numbers that equal the reference after rounding to its decimals, or within a tolerance.",
    numbers={"": Quantity(title="number accuracy", right_from=RIGHT_FROM)},
    score=_score_number,
    options=("tolerance",),
    references="number",
    read_row=_read_number,
    modules=(
        HubModule(
            name="number_accuracy",
            about="Numbers that equal an answer after rounding to its decimals.",
            citation="Lu et al., MathVista, ICLR 2024",
            url="https://github.com/lupantech/MathVista",
            score=number_accuracy,
            columns=SHORT_ANSWERS,
            options={"tolerance": "share of the answer by which a prediction may be off."},
            example='metric.compute(predictions=["3.14159"], references=[["3.14"]])["number_accuracy"]\n1.0',
        ),
    ),
)


# ---- MathVista ---------------------------------------------------------------------------------------


def mathvista_answer(
    text: str, *, question_type: str, answer_type: str, precision: float | None = None, choices: Sequence[str] = ()
) -> str | None:
    """An extracted answer as MathVista's evaluation code compares it; None if it is not of the wanted type.

    Of a multiple choice: the option at the letter, or the option whose text is nearest by edit distance. Of a
    question with an integer or float: the number, cut to an integer or rounded to ``precision`` decimals.

    Raises:
        UserError: a multiple choice without options.
    """
    if question_type == "multi_choice":
        if not choices:
            raise UserError("MathVista's multi_choice needs options; `options: choices` in the task names them")
        text = text.strip()
        label = next((text[at + 1].upper() for at in range(len(text) - 2)
                      if text[at] == "(" and text[at + 2] == ")" and text[at + 1].isascii() and text[at + 1].isalpha()),
                     text)  # fmt: skip
        place = LETTERS.find(label) if len(label) == 1 else -1
        if 0 <= place < len(choices):
            return choices[place]
        return min(choices, key=lambda choice: edit_distance(label, choice))
    try:
        if answer_type == "integer":
            return str(int(float(text)))
        if answer_type == "float":
            return str(round(float(text), int(precision or 0)))
    except (ValueError, OverflowError):
        return None
    return text if answer_type == "list" else None


def _mathvista_of(text: str, references: Sequence[str], facts: Mapping[str, Any], choices: Sequence[str]) -> float:
    answer_type = str(facts["answer_type"])
    found = mathvista_answer(
        text if choices else _given(text, answer_type),
        question_type=str(facts["question_type"]),
        answer_type=answer_type,
        precision=facts.get("precision"),
        choices=choices,
    )
    letters = dict(zip(LETTERS, choices, strict=False))  # a task that reads letters has them as references
    return float(found in {letters.get(reference, reference) for reference in references})


def _given(reply: str, answer_type: str) -> str:
    """The number or list that a reply gives, which MathVista lets a model extract; the reply where there is none."""
    if answer_type == "list":
        return next(reversed(_LIST.findall(reply)), reply)
    try:
        float(reply)
    except ValueError:
        return read_number_in(reply) or reply
    return reply


def _score_mathvista(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    values = []
    for row, (key, text) in enumerate(zip(answers.ids, answers.texts, strict=True)):
        facts = answers.facts[row] if answers.facts else {}
        if lost := [name for name in ("question_type", "answer_type") if name not in facts]:
            raise UserError(
                f"{key}: mathvista needs {lost[0]!r}; give the row one in its `meta`, and name it in the task: "
                "`facts: [question_type, answer_type, precision]`"
            )
        choices = answers.choices[row] if answers.choices else ()
        try:
            values.append(0.0 if text is None else _mathvista_of(text, answers.references[row], facts, choices))
        except UserError as error:
            raise UserError(f"{key}: {error}") from error
    return {"": mean_scores(values, "MathVista's comparison of the extracted answer", binary=True)}


MATHVISTA = Metric(
    name="mathvista",
    about="MathVista's comparison of an extracted answer: option, integer, float with its precision (Lu et al. 2024).",
    numbers={"": Quantity(title="MathVista accuracy", right_from=RIGHT_FROM)},
    score=_score_mathvista,
    needs=("facts",),
)
