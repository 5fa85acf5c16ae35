"""Which rows each arm of the study trains on."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.answers.confidence import FOLDS, fit
from curate.answers.neighbours import unit
from studies.label_noise.cifar import CLASSES
from studies.label_noise.sets import Row, Sets, decisions, suspects

REVIEWED = 500
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """What one arm trains on.

    Attributes:
        rows: all rows, dropped ones too: so arms see those that they share in the same order.
        kept: (rows,) whether each is trained on.
    """

    rows: Sequence[Row]
    kept: Mask


def plans_of(sets: Sets, level: str, seed: int) -> dict[str, Plan]:
    """Arm → what it trains on; without cleanlab where that is not installed."""
    given, right = sets.given[level], sets.right[level]
    every = np.ones(len(given), bool)
    kept_by_id = decisions(sets.folders[level])
    kept = np.array([kept_by_id[row.id] for row in given])
    dropped = int((~kept).sum())
    random = every.copy()
    random[np.random.default_rng([1, seed]).permutation(len(given))[:dropped]] = False
    reviewed = [one if not seen else other for one, other, seen in zip(given, right, top(sets, level), strict=True)]
    plans = {
        "dirty": Plan(given, every),
        "random": Plan(given, random),
        "curated": Plan(given, kept),
        "reviewed": Plan(reviewed, every),
        "clean": Plan(right, every),
    }
    pruned = by_cleanlab(sets, level)
    if pruned is not None:
        plans["cleanlab"] = Plan(given, ~pruned)
    return plans


@functools.cache
def top(sets: Sets, level: str) -> Mask:
    """The ``REVIEWED`` most suspect rows."""
    known = suspects(sets.folders[level])
    score = np.array([known.get(row.id, -1.0) for row in sets.given[level]])
    chosen = np.zeros(len(score), bool)
    chosen[np.argsort(-score, kind="stable")[:REVIEWED]] = True
    return chosen


def likely(sets: Sets, numbers: Sequence[int], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(pictures, classes) probabilities by Winnow's logistic model on its features, out of five folds."""
    vectors = unit(np.stack([sets.vectors[number] for number in numbers]))
    axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))[1][:, :-129:-1].astype(np.float32)
    vectors = unit(vectors @ axes)
    folds = np.random.default_rng(0).integers(0, FOLDS, len(vectors))
    found = np.zeros((len(vectors), len(CLASSES)))
    for fold in range(FOLDS):
        asked = folds == fold
        found[asked] = fit(vectors[~asked], labels[~asked])(vectors[asked], len(CLASSES))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


@functools.cache
def by_cleanlab(sets: Sets, level: str) -> Mask | None:
    """The rows about pictures whose label cleanlab finds wrong; None without cleanlab.

    It is given more than Winnow: that all rows of a picture come from one label, and which it is.
    """
    if importlib.util.find_spec("cleanlab") is None:
        return None
    from cleanlab.filter import find_label_issues

    named = {row.picture: CLASSES.index(row.answer) for row in sets.given[level] if row.kind == "open"}
    labels = np.array(list(named.values()), np.int64)
    issues = find_label_issues(labels, likely(sets, list(named), labels), n_jobs=1)
    bad = {number for number, issue in zip(named, issues.tolist(), strict=True) if issue}
    return np.array([row.picture in bad for row in sets.given[level]])


def found_by(dropped: Mask, wrong: Mask) -> dict[str, Any]:
    """How many rows go, how many of them are wrong, and which share of the wrong ones that is."""
    hits = int((dropped & wrong).sum())
    return {
        "dropped": int(dropped.sum()),
        "precision": hits / max(int(dropped.sum()), 1),
        "recall": hits / max(int(wrong.sum()), 1),
    }
