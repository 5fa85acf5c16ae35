"""Out-of-fold confidence: equal to scikit-learn's, blind to the own picture, null where it would be nonsense."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from curate.answers import confidence
from curate.answers.confidence import FOLDS, against, judge
from curate.answers.neighbours import unit


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(data.target))[:600]
    vectors = unit(data.data[chosen].astype(np.float32))
    return vectors, data.target[chosen].astype(np.int64), rng.integers(0, FOLDS, 600)


def ranks(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint64)


def test_equal_to_scikit_learn(digits):
    vectors, answers, folds = digits
    found = judge(lambda rows: vectors[rows], answers, folds, ranks(600), 15)
    for fold in range(FOLDS):
        asked, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        near = NearestNeighbors(n_neighbors=15, metric="cosine", algorithm="brute").fit(vectors[others])
        votes = answers[others][near.kneighbors(vectors[asked], return_distance=False)]
        prior = (np.bincount(answers[others], minlength=10) + 1) / (len(others) + 10)
        expected = ((votes == answers[asked][:, None]).sum(1) + prior[answers[asked]]) / 16
        assert found.neighbours[asked] == pytest.approx(expected)
        # All 64 pixels are components, so that a rotation and one scale are all that happens before the model.
        centred = vectors[others] - vectors[others].mean(0)
        scale = np.sqrt((centred**2).sum() / (len(others) - 1) / 64)
        model = LogisticRegression(C=0.1, max_iter=1000, tol=1e-6).fit(centred / scale, answers[others])
        shares = model.predict_proba((vectors[asked] - vectors[others].mean(0)) / scale)
        assert found.model[asked] == pytest.approx(shares[np.arange(len(asked)), answers[asked]], abs=0.01)


def test_evidence_is_that_of_the_most_probable_rival():
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    prior = np.array([0.5, 0.4, 0.1])
    found = against(chances, prior, np.array([0, 2]))
    expected = [np.log(0.2 / 0.4) - np.log(0.7 / 0.5), np.log(0.6 / 0.4) - np.log(0.3 / 0.1)]
    assert found == pytest.approx(expected)
    assert against(np.tile(prior, (3, 1)), prior, np.arange(3)) == pytest.approx(np.zeros(3))  # pictures tell nothing


def test_what_is_said_about_the_same_picture_changes_nothing(digits):
    """Each picture three times, in one fold: the answers about its copies are not asked."""
    vectors, answers, folds = (np.concatenate([one[:200]] * 3) for one in digits)
    before = judge(lambda rows: vectors[rows], answers, folds, ranks(600), 5)
    changed = answers.copy()
    changed[[207, 407]] = (answers[7] + 1) % 10
    after = judge(lambda rows: vectors[rows], changed, folds, ranks(600), 5)
    assert before.neighbours[7] == after.neighbours[7] and before.model[7] == pytest.approx(after.model[7])


def test_open_questions_rare_answers_and_single_answers_are_null():
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(100, 8)).astype(np.float32))
    folds = rng.integers(0, FOLDS, 100)

    def of(answers: np.ndarray) -> np.ndarray:
        return judge(lambda rows: vectors[rows], answers, folds, ranks(100), 5).model

    assert np.isnan(of(np.arange(100))).all()  # an open question
    assert np.isnan(of(np.zeros(100, np.int64))).all()  # nothing to tell apart
    rare = of(np.array([7, 7, *([0, 1] * 49)]))
    assert np.isnan(rare[:2]).all() and not np.isnan(rare[2:]).any()


def test_references_are_capped_in_their_order(digits, monkeypatch):
    vectors, answers, folds = digits
    monkeypatch.setattr(confidence, "MOST_REFERENCES", 300)
    asked = []

    def take(rows):
        asked.append(rows)
        return vectors[rows]

    found = judge(take, answers, folds, ranks(600)[::-1].copy(), 5)
    assert set(asked[0].tolist()) == set(range(300, 600)) and not np.isnan(found.model).any()
    again = judge(lambda rows: vectors[rows], answers, folds, ranks(600)[::-1].copy(), 5)
    assert (found.model == again.model).all() and (found.neighbours == again.neighbours).all()
