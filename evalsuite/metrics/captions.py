"""What BLEU, ROUGE-L and CIDEr-D share: the scores they return and the input they accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from winnow.errors import UserError


@dataclass(frozen=True)
class CaptionScores:
    """Scores of one metric.

    Attributes:
        corpus: the score that papers quote.
        per_sample: id → score, in the order of the predictions.
    """

    corpus: float
    per_sample: dict[str, float]


@dataclass(frozen=True)
class BleuScores:
    """BLEU-1 to BLEU-4.

    Attributes:
        corpus: from summed counts, not a mean of sentences.
        per_sample: id → the four scores of that caption alone.
    """

    corpus: list[float]
    per_sample: dict[str, list[float]]


def check_captions(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Refuse what the metrics cannot score.

    Raises:
        UserError: nothing to score, ids without a partner, or a prediction without any reference.
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
    """Refuse predictions without a label, or with one that is not known (in any case).

    Raises:
        UserError: nothing to score, an id without a label, or an unknown label.
    """
    if not predictions:
        raise UserError("there is no prediction to score")
    spelled = {one.lower() for one in known}
    for key in predictions:
        if key not in labels:
            raise UserError(f"id {key!r}: the prediction has no reference")
        if labels[key].strip().lower() not in spelled:
            raise UserError(f"id {key!r}: {labels[key]!r} is none of {', '.join(known)}")
