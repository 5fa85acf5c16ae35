"""How the classifier of wording learns: logistic regression over windows.

An attack is as bad as its worst window, and all windows of a harmless text are harmless. Which window of an attack is
the bad one is not known, so it is learnt by turns (multiple-instance learning; Andrews et al. 2002, "Support Vector
Machines for Multiple-Instance Learning"): fit, take the worst windows of each text by that fit, fit again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.linear_model import LogisticRegression

from serving.guard.mention import unquoted
from serving.guard.ngrams import BUCKETS, pieces, windows, words_of
from serving.guard.normalise import plain
from serving.guard.slots import SLOTS, slots_of
from serving.guard.wording import Weights
from studies.guard.sources import Text

FOLDS = 4
_CASES = ("seen", "opened", "third_seen")
_ROUNDS = 3
_KEPT = 2  # windows of an attack
_LONGEST = 6000  # characters of a text
_C = 4.0
_OF_CASES = 5.0  # how much more a case counts than another text: a person wrote each with care
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """Texts as the classifier sees them.

    Attributes:
        rows: a row for each window: the counts of its pieces over the square root of their number, then which of
            ``SLOTS`` the text has.
        bounds: where the windows of each text begin, and where the last ones end.
    """

    texts: Sequence[Text]
    rows: csr_matrix
    bounds: npt.NDArray[np.int64]
    attack: Bools

    def part(self, wanted: Bools) -> Measured:
        """Some of the texts."""
        keep = np.flatnonzero(wanted).tolist()
        rows = np.concatenate([np.arange(self.bounds[at], self.bounds[at + 1]) for at in keep])
        counts = np.diff(self.bounds)[keep]
        return Measured([self.texts[at] for at in keep], self.rows[rows], np.concatenate([[0], np.cumsum(counts)]),
                        self.attack[keep])  # fmt: skip

    def logits(self, weights: Floats, bias: float) -> Floats:
        """Of each text the logit of its worst window."""
        return np.asarray(np.maximum.reduceat(self.rows @ weights + bias, self.bounds[:-1]))


def measured(texts: Iterable[Text]) -> Measured:
    """Windows of texts."""
    held = list(texts)
    seen = [unquoted(plain(text.text[:_LONGEST])) for text in held]
    rows = [_windows(words_of(each)) for each in seen]
    bounds = np.concatenate([[0], np.cumsum([each.shape[0] for each in rows])])
    slots = np.array([[name in found for name in SLOTS] for found in map(slots_of, seen)], np.float32)
    both = hstack([vstack(rows), csr_matrix(np.repeat(slots, np.diff(bounds), axis=0))], "csr")
    return Measured(held, both, bounds, np.array([text.attack for text in held]))


def _windows(words: str) -> csr_matrix:
    buckets, places = pieces(words)
    order = np.argsort(places, kind="stable")
    buckets, places = buckets[order], places[order]
    # Windows of a short text are the same for both widths.
    bounds = np.unique([np.searchsorted(places, bound) for bound in windows(len(words))], axis=1)
    counts = bounds[1] - bounds[0]
    indices = np.concatenate([buckets[first:last] for first, last in bounds.T])
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    made = csr_matrix((values, indices, np.concatenate([[0], np.cumsum(counts)])), shape=(len(counts), BUCKETS))
    made.sum_duplicates()
    return made


def fit(data: Measured) -> tuple[Floats, float]:
    """Weights of the buckets and the slots, and the bias."""
    weights, bias = np.zeros(data.rows.shape[1]), 0.0
    chance = np.random.default_rng(0)
    model = LogisticRegression(C=_C, tol=1e-3, max_iter=100, warm_start=True)
    counts = np.diff(data.bounds)
    of_text = np.repeat(data.attack, counts)
    counted = np.repeat([_OF_CASES if text.source in _CASES else 1.0 for text in data.texts], counts)
    for turn in range(_ROUNDS):
        bad = data.rows @ weights + bias
        chosen: list[int] = []
        for begin, end, attack in zip(data.bounds[:-1], data.bounds[1:], data.attack, strict=True):
            worst = np.argsort(-bad[begin:end], kind="stable")[: (_KEPT if attack else 1) if turn else 0]
            others = chance.permutation(end - begin)[: (0 if turn else 2 * _KEPT) if attack else 2]
            chosen += [begin + at for at in dict.fromkeys([*worst, *others])]
        model.fit(data.rows[chosen], of_text[chosen], sample_weight=counted[chosen])
        weights, bias = model.coef_[0].astype(np.float64), float(model.intercept_[0])
    return weights, bias


def unseen_logits(data: Measured, folds: npt.NDArray[np.int64]) -> Floats:
    """Of each text the logit by what was learnt without the texts of its fold; of fold −1 none."""
    found = np.full(len(data.texts), np.nan)
    for fold in np.unique(folds[folds >= 0]):
        found[folds == fold] = data.part(folds == fold).logits(*fit(data.part(folds != fold)))
    return found


def folds_of(texts: Sequence[Text]) -> npt.NDArray[np.int64]:
    """A fold for each text: of one public set's attacks, one line of phrases or one file of cases the same."""
    together = ("phrases", *_CASES)
    return np.array([_fold(text.group if text.attack or text.source in together else text.text) for text in texts])


def _fold(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8], "big") % FOLDS


def weights_of(weights: Floats, bias: float) -> Weights:
    """What was learnt, as it ships."""
    table, slots = weights[:BUCKETS], weights[BUCKETS:]
    return Weights(table.astype(np.float16).astype(np.float32), slots.astype(np.float32), bias)
