"""ANLS, the score of DocVQA and InfographicVQA (Biten et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.metrics.checks import check_answers


def anls(prediction: str, answers: Sequence[str], *, threshold: float = 0.5) -> float:
    """Average normalised Levenshtein similarity of one prediction: the best over the answers.

    The distance is between texts in lower case with single blanks; it is divided by the length of the
    longer text as it stands. A similarity below ``threshold`` counts 0, one equal to it counts. Two
    empty texts are equal.

    Raises:
        UserError: there is no answer.
    """
    check_answers(answers)
    best = max(_similarity(prediction, answer) for answer in answers)
    return best if best >= threshold else 0.0


def _similarity(prediction: str, answer: str) -> float:
    length = max(len(prediction.upper()), len(answer.upper()))
    if not length:
        return 1.0
    return 1 - edit_distance(" ".join(prediction.lower().split()), " ".join(answer.lower().split())) / length


def edit_distance(one: str, two: str) -> int:
    """Levenshtein distance, one integer operation per character of ``two`` (Myers 1999, Hyyrö 2003)."""
    if not one:
        return len(two)
    where: dict[str, int] = {}
    for position, character in enumerate(one):
        where[character] = where.get(character, 0) | 1 << position
    full, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    plus, minus, distance = full, 0, len(one)
    for character in two:
        match = where.get(character, 0)
        diagonal = ((match & plus) + plus ^ plus) | match | minus
        right, left = minus | ~(diagonal | plus) & full, plus & diagonal
        distance += bool(right & last) - bool(left & last)
        right = (right << 1 | 1) & full
        plus, minus = (left << 1 | ~(diagonal | right)) & full, right & diagonal
    return distance
