"""Intervals and tests against loops that do the same thing slowly."""

import math

import numpy as np
import pytest

from evalsuite.metrics.ngrams import bleu_of
from evalsuite.statistics import (
    Interval,
    cluster_codes,
    exact_when_unanimous,
    interval,
    intervals,
    mcnemar,
    mean_interval,
    mean_of_sums,
    mean_sums,
    paired_difference,
)

RNG = np.random.default_rng(5)
CLUSTERS = np.repeat(np.arange(40), 5)
VALUES = (RNG.random(200) < 0.05 + 0.9 * np.repeat(RNG.random(40) < 0.5, 5)).astype(float)


def naive_bootstrap(values: np.ndarray, clusters: np.ndarray, seed: int, replicates: int) -> np.ndarray:
    """Draw clusters with replacement and pool their rows, one resample after the other."""
    generator = np.random.default_rng(seed)
    names = np.unique(clusters)
    drawn = generator.integers(0, len(names), size=(replicates, len(names)))
    return np.array([np.concatenate([values[clusters == names[c]] for c in row]).mean() for row in drawn])


def test_clustered_interval_equals_the_loop() -> None:
    expected = np.quantile(naive_bootstrap(VALUES, CLUSTERS, 3, 300), [0.025, 0.975])
    found = mean_interval(VALUES, CLUSTERS, seed=3, replicates=300)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert found.value == pytest.approx(VALUES.mean())
    assert (found.n, found.clusters) == (200, 40)


def test_clusters_widen_the_interval_and_seeds_are_explicit() -> None:
    clustered, rows = mean_interval(VALUES, CLUSTERS, seed=1), mean_interval(VALUES, seed=1)
    assert clustered.high - clustered.low > 1.2 * (rows.high - rows.low)
    assert mean_interval(VALUES, CLUSTERS, seed=1) == clustered != mean_interval(VALUES, CLUSTERS, seed=2)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        level = generator.normal(0, 1, 30)
        values = np.repeat(level, 4) + generator.normal(0, 1, 120)
        found = mean_interval(values, np.repeat(np.arange(30), 4), seed=trial, replicates=300)
        hits += found.low <= 0 <= found.high
    assert 0.86 <= hits / 200 <= 0.99


def test_many_parts_and_slices_agree_with_one_at_a_time() -> None:
    sums = mean_sums(VALUES)
    mask = np.arange(200) % 5 < 2
    whole, part = intervals([(sums, mean_of_sums, None), (sums, mean_of_sums, mask)], CLUSTERS, seed=3, replicates=200)
    assert whole == interval(sums, CLUSTERS, mean_of_sums, seed=3, replicates=200)
    assert part.value == pytest.approx(VALUES[mask].mean()) and part.n == 80
    generator = np.random.default_rng(3)
    drawn = generator.integers(0, 40, size=(200, 40))
    means = [np.concatenate([VALUES[mask & (c == CLUSTERS)] for c in row]).mean() for row in drawn]
    assert (part.low, part.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)


def test_corpus_bleu_is_resampled_as_a_corpus() -> None:
    counts = RNG.integers(0, 5, size=(30, 10)).astype(float)
    counts[:, 4:8] = counts[:, :4] + 1

    def estimate(sums: np.ndarray) -> np.ndarray:
        return bleu_of(sums[:, :4], sums[:, 4:8], sums[:, 8], sums[:, 9])[:, 3]

    found = interval(counts, None, estimate, seed=9, replicates=100)
    drawn = np.random.default_rng(9).integers(0, 30, size=(100, 30))
    expected = [estimate(counts[row].sum(0, keepdims=True))[0] for row in drawn]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mean_interval(VALUES, CLUSTERS, seed=3, replicates=50)
    monkeypatch.setattr("evalsuite.statistics.resampling._CELLS", 120)
    assert mean_interval(VALUES, CLUSTERS, seed=3, replicates=50) == whole


def test_one_cluster_has_no_interval() -> None:
    found = mean_interval([0.0, 1.0], [4, 4])
    assert (found.value, found.low, found.high, found.clusters) == (0.5, None, None, 1)
    assert paired_difference(mean_sums([0.0]), mean_sums([1.0]), None).p is None


def test_paired_difference_uses_the_pairing() -> None:
    better = np.clip(VALUES + (RNG.random(200) < 0.2), 0, 1)
    found = paired_difference(mean_sums(VALUES), mean_sums(better), CLUSTERS, seed=2)
    assert found.value == pytest.approx(better.mean() - VALUES.mean())
    assert found.low > 0 and found.p < 0.01
    assert found.high - found.low < mean_interval(better, CLUSTERS).high - mean_interval(better, CLUSTERS).low
    same = paired_difference(mean_sums(VALUES), mean_sums(VALUES), CLUSTERS)
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (3, 9), (7, 7), (40, 60)])
def test_mcnemar_equals_the_binomial_sum(only_a: int, only_b: int) -> None:
    a = [1] * only_a + [0] * only_b + [1, 1, 0]
    b = [0] * only_a + [1] * only_b + [1, 1, 0]
    found = mcnemar(a, b)
    n, fewer = only_a + only_b, min(only_a, only_b)
    points = [math.comb(n, i) / 2**n for i in range(fewer + 1)]
    assert (found.only_a, found.only_b, found.both, found.neither) == (only_a, only_b, 2, 1)
    assert found.p_exact == pytest.approx(min(1.0, 2 * sum(points)))
    assert found.p_mid == pytest.approx(min(1.0, 2 * sum(points) - points[-1]))


def test_unanimous_rows_get_exact_bounds() -> None:
    none = exact_when_unanimous(Interval(0.0, 0.0, 0.0, 100, 20))
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    every = exact_when_unanimous(Interval(1.0, 1.0, 1.0, 100, 20))
    assert (every.low, every.high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    other = Interval(0.5, 0.4, 0.6, 100, 20)
    assert exact_when_unanimous(other) is other


def test_clusters_are_numbered_by_first_occurrence() -> None:
    assert cluster_codes(["b", "a", "b", ("c",)]).tolist() == [0, 1, 0, 2]


def test_very_many_clusters_are_drawn_in_unions_and_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    clusters = np.repeat(np.arange(6000), 2)
    values = (draw.random(12000) < np.repeat(draw.beta(2, 3, 6000), 2)).astype(float)
    mask = draw.random(12000) < 0.3
    parts = [(mean_sums(values), mean_of_sums, chosen) for chosen in (None, mask)]
    exact = intervals(parts, clusters)
    monkeypatch.setattr("evalsuite.statistics.resampling.MOST_UNITS", 1000)
    united = intervals(parts, clusters)
    difference = paired_difference(mean_sums(values), mean_sums(1 - values), clusters)
    monkeypatch.setattr("evalsuite.statistics.resampling._HELD", 2500)  # two sums at a time: a block for each part
    assert intervals(parts, clusters) == united
    for one, other in zip(exact, united, strict=True):
        assert (one.n, one.clusters) == (other.n, other.clusters)
        assert other.value == pytest.approx(one.value, abs=1e-12)
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.1)
    assert difference.clusters == 6000 and difference.value == pytest.approx(1 - 2 * values.mean())
    assert difference.high - difference.low == pytest.approx(2 * (exact[0].high - exact[0].low), rel=0.1)
