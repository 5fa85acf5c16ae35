"""VizWiz: how well a model knows that a question has no answer (Gurari et al. 2018).

The accuracy of answers is ``vqa_accuracy(normalizer="evalai")``, quoted per answer type. The
challenge's second task, average precision of answerability, needs a confidence that a text does not
give; precision, recall and F1 of saying "unanswerable" take its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalsuite.metrics.captions import check_captions
from evalsuite.metrics.normalize import evalai
from evalsuite.metrics.yes_no import precision_recall_f1

UNANSWERABLE = "unanswerable"


@dataclass(frozen=True)
class UnanswerableScores:
    """Scores of saying "unanswerable".

    Attributes:
        precision: truly unanswerable among those called so; 0 if none was.
        recall: called so among the unanswerable; 0 if there is none.
        f1: harmonic mean of the two.
        per_sample: id → 1 if the prediction is right about answerability, else 0.
    """

    precision: float
    recall: float
    f1: float
    per_sample: dict[str, float]


def unanswerable(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> UnanswerableScores:
    """Precision, recall and F1 of "unanswerable"; a question is so if most people said so.

    Raises:
        UserError: the ids of predictions and references differ, or there are none.
    """
    check_captions(predictions, references)
    said = {key: says_unanswerable(text) for key, text in predictions.items()}
    truth = {key: is_unanswerable(references[key]) for key in predictions}
    hits = sum(said[key] and truth[key] for key in said)
    precision, recall, f1 = precision_recall_f1(hits, sum(said.values()), sum(truth.values()))
    return UnanswerableScores(precision, recall, f1, {key: float(said[key] == truth[key]) for key in said})


def says_unanswerable(text: str) -> bool:
    """Whether a prediction is the word "unanswerable"."""
    return evalai(text) == UNANSWERABLE


def is_unanswerable(answers: Sequence[str]) -> bool:
    """Whether the most frequent answer, the first among equals, is "unanswerable"."""
    return Counter(map(evalai, answers)).most_common(1)[0][0] == UNANSWERABLE
