"""What the metrics of single answers refuse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from winnow.errors import UserError


def check_answers(answers: Sequence[str], what: str = "answers") -> None:
    """Raise UserError unless ``answers`` is a non-empty list of texts."""
    if isinstance(answers, str) or not answers:
        raise UserError(f"{what} must be a non-empty list of texts")


def check_variant(variant: str, known: Iterable[str], what: str = "variant") -> None:
    """Raise UserError, naming the known ones, unless ``variant`` is known."""
    known = list(known)
    if variant not in known:
        raise UserError(f"unknown {what} {variant!r}; known: {', '.join(known)}")
