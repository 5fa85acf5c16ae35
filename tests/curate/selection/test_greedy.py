"""K-centre and facility location against plain loops, and the cut into cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.measure.set_embeddings import SetEmbeddings
from curate.selection import greedy


def unit(seed, images, width=6):
    values = np.random.default_rng(seed).normal(size=(images, width)).astype(np.float16)
    return values / np.linalg.norm(values.astype(np.float32), axis=1, keepdims=True).astype(np.float16)


def similarity(seed, images):
    values = unit(seed, images).astype(np.float32)
    return values @ values.T


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), images=st.integers(1, 25))
def test_k_centre_takes_the_farthest_each_time(seed, images):
    table = similarity(seed, images)
    order, gains = greedy.k_centre(table)
    assert sorted(order.tolist()) == list(range(images))
    assert gains[0] == np.inf
    for step in range(1, images):
        nearest = [max(table[i, j] for j in order[:step]) for i in range(images)]
        left = [i for i in range(images) if i not in order[:step].tolist()]
        assert order[step] == min(left, key=lambda i: (nearest[i], i))
        assert gains[step] == pytest.approx(1 - nearest[order[step]], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), images=st.integers(1, 20))
def test_facility_location_is_the_plain_greedy_order(seed, images):
    table = similarity(seed, images)
    order, gains = greedy.facility_location(table)
    served, taken = np.zeros(images), []
    for step in range(images):
        gain = {i: float(np.maximum(table[i] - served, 0).sum()) for i in range(images) if i not in taken}
        best = max(gain.values())
        assert gain[int(order[step])] == pytest.approx(best, abs=1e-5)
        assert gains[step] == pytest.approx(best, abs=1e-5)
        taken.append(int(order[step]))
        served = np.maximum(served, table[order[step]])
    assert sorted(taken) == list(range(images))


@pytest.mark.parametrize("order", [greedy.k_centre, greedy.facility_location])
def test_cells_hold_every_picture_once_and_the_merged_order_is_deterministic(order, monkeypatch):
    monkeypatch.setattr(greedy, "CELL", 8)
    row = np.arange(200)
    row[3] = -1
    found = SetEmbeddings("clip", unit(1, 200), row)
    cut = list(greedy.cells(found, found.numbers, 0))
    assert sorted(np.concatenate(cut).tolist()) == found.numbers.tolist()
    assert max(map(len, cut)) <= 8
    first = greedy.ranked(found, found.numbers, order, 0)
    assert sorted(first.tolist()) == found.numbers.tolist()
    monkeypatch.setattr(greedy, "_BLOCK", 7)
    assert greedy.ranked(found, found.numbers, order, 0).tolist() == first.tolist()


def test_facility_location_by_cells_covers_nearly_as_well_as_without(monkeypatch):
    found = SetEmbeddings("clip", unit(2, 300, 16), np.arange(300))
    table = np.maximum(found.of(found.numbers) @ found.of(found.numbers).T, 0)
    whole = greedy.ranked(found, found.numbers, greedy.facility_location, 0)[:60]
    monkeypatch.setattr(greedy, "CELL", 40)
    cut = greedy.ranked(found, found.numbers, greedy.facility_location, 0)[:60]
    random = np.random.default_rng(0).permutation(300)[:60]
    score = [table[chosen].max(axis=0).sum() for chosen in (whole, cut, random)]
    assert score[0] >= score[1] > score[2]


def test_no_picture_has_no_order():
    found = SetEmbeddings("clip", unit(1, 3), np.full(3, -1))
    assert greedy.ranked(found, found.numbers, greedy.k_centre, 0).tolist() == []
