"""Checks of what metrics are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from winnow.errors import UserError


def check_answers(answers: Sequence[str], what: str = "answers") -> None:
    """Raise UserError unless ``answers`` is a non-empty list of texts."""
    if isinstance(answers, str) or not answers:
        raise UserError(f"{what} must be a non-empty list of texts")


def check_captions(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Refuse what the metrics of whole sets cannot score.

    Raises:
        UserError: nothing to score, ids on one side only, or a prediction without any reference.
    """
    if not predictions:
        raise UserError("there is no prediction to score")
    if lost := predictions.keys() - references.keys():
        raise UserError(f"id {min(map(str, lost))!r}: {len(lost):,} predictions have no references")
    if lost := references.keys() - predictions.keys():
        raise UserError(f"id {min(map(str, lost))!r}: {len(lost):,} references have no prediction; leave them out")
    for sample_id, texts in references.items():
        if isinstance(texts, str) or not texts:
            raise UserError(f"id {sample_id!r}: references must be a non-empty list of texts")


def check_pairs(predictions: Mapping[str, str], labels: Mapping[str, str], known: Sequence[str]) -> None:
    """Refuse predictions without a label, or with an unknown one; case does not matter.

    Raises:
        UserError: nothing to score, an id without a label, or an unknown label.
    """
    if not predictions:
        raise UserError("there is no prediction to score")
    spelled = {label.lower() for label in known}
    for key in predictions:
        if key not in labels:
            raise UserError(f"id {key!r}: the prediction has no reference")
        if labels[key].strip().lower() not in spelled:
            raise UserError(f"id {key!r}: {labels[key]!r} is none of {', '.join(known)}")


def check_variant(variant: str, known: Iterable[str], what: str = "variant") -> None:
    """Raise UserError, naming the known ones, unless ``variant`` is known."""
    known = list(known)
    if variant not in known:
        raise UserError(f"unknown {what} {variant!r}; known: {', '.join(known)}")
