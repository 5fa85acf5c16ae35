"""Multiple choice: which option a reply names."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Literal

from evalsuite.metrics.checks import check_answers, check_variant

ChoiceVariant = Literal["mmmu", "mmmu-official", "lenient", "scienceqa", "lmms-eval"]
VARIANTS: tuple[ChoiceVariant, ...] = ("mmmu", "mmmu-official", "lenient", "scienceqa", "lmms-eval")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ENDS = ",.!?;:'"
_FEW_WORDS = 5  # a reply of so many words is not searched for the text of an option
_THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Za-z])\)?\s*\}?\s*\}")
_LABEL = re.compile(r"[\s*_`\"'(\[]*([A-Za-z])(?:[\s*_`\"']*[)\].:,][\s*_`\"']*(?:\s.*)?|[\s*_`\"']*)", re.DOTALL)


def multiple_choice_accuracy(
    prediction: str,
    answers: Sequence[str],
    choices: Sequence[str],
    *,
    variant: ChoiceVariant = "mmmu",
    key: str = "",
) -> float:
    """1 if the option that the prediction names is among ``answers`` (letters), else 0.

    A prediction that names none is wrong; ``parse_choice`` tells which those are.

    Raises:
        UserError: no answer, no choice, more than 26, or an unknown variant.
    """
    check_answers(answers)
    return float(
        parse_choice(prediction, choices, variant=variant, key=key) in {one.strip().upper() for one in answers}
    )


def parse_choice(text: str, choices: Sequence[str], *, variant: ChoiceVariant = "mmmu", key: str = "") -> str | None:
    """The letter of the option that a reply names, or None.

    Args:
        choices: texts of the options; the first is A.
        variant: ``mmmu`` follows MMMU's evaluation code: ``(A)``, else `` A ``, else, in replies of
            more than five words, an option's text; of several the one named last. ``mmmu-official``
            then draws at random where nothing is named, as the original does, here seeded by
            ``key``. ``lenient`` also takes ``B) …``, ``**B**``, ``\\boxed{B}``, ``b`` and the bare text
            of one option. ``scienceqa`` takes the letter alone, ``B. …``, or a single
            ``The answer is B.``; ``lmms-eval`` is its MMMU rule, which also takes ``B `` and ``B.``
            inside words ("FAILED after" is D), and draws.
        key: the sample's id.

    Raises:
        UserError: no choice, more than 26, or an unknown variant.
    """
    check_variant(variant, VARIANTS)
    check_answers(choices, "choices")
    letters = LETTERS[: len(choices)]
    if variant == "scienceqa":
        return _scienceqa(text.strip(), letters)
    options = dict(zip(letters, choices, strict=True))
    found = _lmms_eval(text, options) if variant == "lmms-eval" else _mmmu(text, options)
    if found is None and variant in ("mmmu-official", "lmms-eval"):
        return random.Random(key).choice(letters)
    if found is None and variant == "lenient":
        return _lenient(text.strip(), choices, letters)
    return found


def _mmmu(reply: str, options: dict[str, str]) -> str | None:
    for mark in _ENDS:
        reply = reply.strip(mark)
    text = f" {reply} "
    for spelling in ("({})", " {} "):
        places = {letter: text.rfind(spelling.format(letter)) for letter in options}
        if max(places.values()) >= 0:
            return max(places, key=lambda letter: places[letter])
    if len(text.split()) <= _FEW_WORDS:
        return None
    places = {letter: text.lower().rfind(option.lower()) for letter, option in options.items()}
    return max(places, key=lambda letter: places[letter]) if max(places.values()) >= 0 else None


def _lmms_eval(reply: str, options: dict[str, str]) -> str | None:
    text = reply
    for mark in _ENDS:
        text = text.strip(mark)
    text = f" {text} "
    if not any(f"({letter})" in text for letter in options):
        for spelling in ("{} ", "{}."):
            named = [letter for letter in options if spelling.format(letter) in text]
            if named:
                return max(named, key=lambda letter: text.rfind(f" {letter} "))
    return _mmmu(reply, options)


def _scienceqa(text: str, letters: str) -> str | None:
    if text and text[0] in letters and (len(text) == 1 or text[1:3] == ". "):
        return text[0]
    named = _THE_ANSWER_IS.findall(text)
    return named[0] if len(named) == 1 and named[0] in letters else None


def _lenient(text: str, choices: Sequence[str], letters: str) -> str | None:
    label = None
    if boxed := _BOXED.findall(text):
        label = boxed[-1]
    elif found := _LABEL.fullmatch(text):
        label = found[1]
    if label and label.upper() in letters:
        return label.upper()
    bare = text.strip(" .\"'*").lower()
    same = [letter for letter, option in zip(letters, choices, strict=True) if option.strip(" .").lower() == bare]
    return same[0] if len(same) == 1 else None
