"""Fewer axes keep the cosines: equal to scikit-learn's truncated decomposition."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD

from curate.answers import components
from curate.answers.components import project
from curate.answers.neighbours import unit


def test_inner_products_are_those_of_a_truncated_decomposition(monkeypatch):
    monkeypatch.setattr(components, "_BLOCK", 64)
    rng = np.random.default_rng(0)
    values = unit((rng.normal(size=(300, 5)) @ rng.normal(size=(5, 40)) + 0.1).astype(np.float32)).astype(np.float16)
    with tempfile.TemporaryFile() as file:
        found = np.asarray(project(values, np.zeros(300, np.uint64), 4, file), np.float32)
    expected = TruncatedSVD(4, algorithm="arpack", random_state=0).fit_transform(values.astype(np.float64))
    assert found.shape == (300, 4)
    assert found @ found.T == pytest.approx(expected @ expected.T, abs=3e-3)


def test_axes_are_fitted_to_the_first_by_rank(monkeypatch):
    """Here to the second half alone, which lies on the last two of four axes."""
    monkeypatch.setattr(components, "_FITTED", 10)
    values = np.zeros((20, 4), np.float16)
    values[:10, :2] = values[10:, 2:] = np.random.default_rng(0).normal(size=(10, 2))
    with tempfile.TemporaryFile() as file:
        found = np.asarray(project(values, np.arange(20, dtype=np.uint64)[::-1].copy(), 2, file))
    assert not found[:10].any() and found[10:].any()


def test_narrow_and_empty_sets_stay_as_they_are():
    values, rank = np.ones((3, 4), np.float16), np.zeros(3, np.uint64)
    with tempfile.TemporaryFile() as file:
        assert project(values, rank, 4, file) is values
        assert not len(project(values[:0], rank[:0], 2, file))
