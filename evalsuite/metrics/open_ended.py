"""MMMU's open questions: a short text or a number, looked for in what concludes the reply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalsuite.metrics.checks import check_answers

_CONCLUDES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def mmmu_open(prediction: str, answers: Sequence[str]) -> float:
    """1 if MMMU's evaluation code accepts the prediction, else 0.

    Of every line the shortest piece after a word like "is" or "so" is taken (the whole reply where
    there is none), with all numbers in it. A text answer must be part of such a piece; a number must
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
        if number is None and any(one in piece for one in _texts(answer) for piece in pieces):
            return 1.0
    return 0.0


def open_candidates(reply: str) -> tuple[list[str], list[float]]:
    """Texts and numbers that a reply offers as its answer, sorted."""
    texts: set[str] = set()
    numbers: set[float] = set()
    for piece in _conclusions(reply):
        for one in (piece, *(found for pattern in _NUMBERS for found in pattern.findall(piece))):
            number = _number(one)
            if number is None:
                texts.update(_texts(one))
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
