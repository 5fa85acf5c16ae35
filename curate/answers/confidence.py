"""How probable an answer is given the answers about similar pictures, out of fold: k nearest neighbours, and a model.

Rows of one picture, and of its near copies, are in one fold, so that no row is judged by an answer about its own
picture. Sources: Wilson 1972 (nearest neighbours); Northcutt et al. 2021, arXiv:1911.00068 (out-of-fold
self-confidence).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]
FOLDS = 5
LEAST = 5  # rows that give an answer before it can be told from the others
MOST_REFERENCES = 20_000  # rows of a group that others are compared with; bounds time and memory
_MOST_ANSWERS = 200
_COVERED = 0.5  # least share of a group's rows whose answer is frequent enough; else the question is an open one
_BLOCK = 512  # rows compared at a time
_STRENGTH = 0.1  # inverse of the L2 penalty, on axes of unit variance on average


@dataclass(frozen=True)
class Confidence:
    """What others say about the answers of a group, float64 (rows,); NaN where nothing can be said.

    Attributes:
        neighbours: 0–1, share of the row's answer among those of the nearest pictures, smoothed by one vote of
            the answers of all other folds.
        model: 0–1, probability of the row's answer by a multinomial logistic model.
        neighbours_against, model_against: nats against the row's answer, see ``against``.
    """

    neighbours: NDArray[np.float64]
    model: NDArray[np.float64]
    neighbours_against: NDArray[np.float64]
    model_against: NDArray[np.float64]

    @classmethod
    def unknown(cls, rows: int) -> Confidence:
        """Of rows about which nothing is known yet."""
        return cls(*(np.full(rows, np.nan) for _ in fields(cls)))


def judge(
    take: Callable[[Numbers], Vectors], answers: Numbers, folds: Numbers, rank: NDArray[np.uint64], k: int
) -> Confidence:
    """Judge every row of a group by the rows of the other folds.

    A group of which fewer than half the rows have an answer that ``LEAST`` rows give, or of which all have the same,
    is left unjudged, and so are rows with a rarer answer.

    Args:
        take: vectors of unit length, float32 (m, width), of some rows.
        answers: (rows,) number of each row's answer.
        folds: (rows,) below ``FOLDS``.
        rank: (rows,) in whose order rows become references where there are more than ``MOST_REFERENCES``.
        k: neighbours that vote.
    """
    found = Confidence.unknown(len(answers))
    values, code, count = np.unique(answers, return_inverse=True, return_counts=True)
    frequent = np.flatnonzero(count >= LEAST)
    frequent = frequent[np.lexsort((frequent, -count[frequent]))][:_MOST_ANSWERS]
    if len(frequent) < 2 or count[frequent].sum() < _COVERED * len(answers):
        return found
    number = np.full(len(values), -1)
    number[np.sort(frequent)] = np.arange(len(frequent))
    label = number[code]
    known = np.flatnonzero(label >= 0)
    references = np.sort(known[np.lexsort((known, rank[known]))][:MOST_REFERENCES])
    vectors = take(references)
    for fold in range(FOLDS):
        asked, others = known[folds[known] == fold], folds[references] != fold
        if len(asked) and len(np.unique(label[references[others]])) > 1:
            _judge_fold(found, take, asked, label, vectors[others], label[references[others]], k)
    return found


def _judge_fold(
    found: Confidence, take: Callable[[Numbers], Vectors], asked: Numbers, label: Numbers, vectors: Vectors,
    given: Numbers, k: int,
) -> None:  # fmt: skip
    """Fill in ``found`` for the rows ``asked`` of one fold.

    Args:
        vectors, given: of the references outside the fold.
    """
    counts = np.bincount(given, minlength=int(label.max()) + 1) + 1
    prior = np.asarray(counts / counts.sum(), np.float64)
    probabilities = fit(vectors, given)
    for start in range(0, len(asked), _BLOCK):
        rows = asked[start : start + _BLOCK]
        own, vector = label[rows], take(rows)
        near, place = given[nearest(vector, vectors, k)], np.arange(len(rows))
        votes = np.zeros((len(rows), len(prior)))
        np.add.at(votes, (place[:, None], near), 1.0)
        shares, chances = (votes + prior) / (near.shape[1] + 1), probabilities(vector, len(prior))
        found.neighbours[rows], found.model[rows] = shares[place, own], chances[place, own]
        found.neighbours_against[rows] = against(shares, prior, own)
        found.model_against[rows] = against(chances, prior, own)


def against(probabilities: NDArray[np.float64], prior: NDArray[np.float64], own: Numbers) -> NDArray[np.float64]:
    """Nats (m,) against each row's own answer: how much likelier its picture is if the rival is right.

    The rival is the most probable other answer a; the evidence is log p(a)/prior(a) − log p(own)/prior(own), by Bayes
    the log of p(picture | a) / p(picture | own). It is near 0 where pictures tell nothing about the answers.

    Args:
        probabilities: (m, answers) by the picture; prior: (answers,) without it.
    """
    place = np.arange(len(own))
    information = np.log(probabilities) - np.log(prior)
    others = probabilities.copy()
    others[place, own] = -1
    return np.asarray(information[place, others.argmax(axis=1)] - information[place, own])


def nearest(vectors: Vectors, references: Vectors, k: int) -> Numbers:
    """(m, k) the references of the highest cosine, in no order; all of them if there are fewer."""
    if len(references) <= k:
        return np.broadcast_to(np.arange(len(references)), (len(vectors), len(references)))
    return np.argpartition(-(vectors @ references.T), k - 1, axis=1)[:, :k]


def fit(vectors: Vectors, given: Numbers) -> Callable[[Vectors, int], NDArray[np.float64]]:
    """A multinomial logistic model of the answers; gives probabilities (m, answers) for vectors (m, width).

    It sees them centred, and divided by one number so that their variance is 1 on average. An answer that no reference
    gives has the probability 1e-6.
    """
    from sklearn.linear_model import LogisticRegression

    mean = vectors.mean(axis=0)
    scale = float(np.sqrt(vectors.var(axis=0, ddof=1).mean())) or 1.0
    model = LogisticRegression(C=_STRENGTH, max_iter=300).fit((vectors - mean) / scale, given)

    def probabilities(asked: Vectors, answers: int) -> NDArray[np.float64]:
        found = np.full((len(asked), answers), 1e-6)
        found[:, model.classes_] = np.maximum(model.predict_proba((asked - mean) / scale), 1e-6)
        return found

    return probabilities
