"""Pairs within a Hamming radius: always equal to brute force, whatever the plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.duplicates import hamming
from curate.duplicates import hamming as groups
from curate.duplicates import hamming as plan
from curate.duplicates.hamming import pairs_between, pairs_within


def brute_within(hashes, radius):
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= radius
    return np.argwhere(np.triu(near, 1))


def brute_between(a, b, radius):
    return np.argwhere(np.bitwise_count(a[:, None] ^ b[None]) <= radius)


def clustered(count, seed, shared_bits=0):
    """Random hashes, a third of which are neighbours of another at 0 to 10 bits; upper bits shared if asked."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for place in rng.choice(count, count // 3, replace=False):
        mask = sum(1 << int(bit) for bit in rng.choice(64, int(rng.integers(0, 11)), replace=False))
        hashes[place] = hashes[rng.integers(count)] ^ np.uint64(mask)
    return hashes & np.uint64((1 << (64 - shared_bits)) - 1)


@pytest.fixture
def forced_plan(monkeypatch):
    """No brute force, and every bucket of more than a few hashes counts as crowded."""
    monkeypatch.setattr(plan, "CELL", 1e9)
    monkeypatch.setattr(hamming, "DENSE", 200)
    monkeypatch.setattr(plan, "TABLE_BITS", 16)
    plan.plan.cache_clear()
    yield
    plan.plan.cache_clear()


# Few values on few bits, so that equal and near hashes are frequent.
crowded_hashes = st.lists(
    st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 63), st.integers(0, 7).map(lambda bit: 1 << (8 * bit))),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(crowded_hashes, st.integers(0, 16))
def test_within_equals_brute_force(values, radius):
    hashes = np.array(values, np.uint64)
    pairs = pairs_within(hashes, radius)
    assert pairs.dtype == np.int64
    assert pairs.shape[1] == 2
    assert np.array_equal(pairs, brute_within(hashes, radius).reshape(-1, 2))


@settings(max_examples=60, deadline=None)
@given(crowded_hashes, crowded_hashes, st.integers(0, 16))
def test_between_equals_brute_force(left, right, radius):
    a, b = np.array(left, np.uint64), np.array(right, np.uint64)
    assert np.array_equal(pairs_between(a, b, radius), brute_between(a, b, radius).reshape(-1, 2))


@pytest.mark.parametrize(
    ("shared_bits", "radius"), [(0, 0), (0, 1), (0, 4), (0, 6), (40, 2), (40, 3), (56, 1), (56, 2)]
)
def test_tables_equal_brute_force(forced_plan, radius, shared_bits):
    hashes = clustered(160, seed=radius, shared_bits=shared_bits)
    assert plan.plan(8, 8, radius, 64), "this test wants tables, not brute force"
    assert np.array_equal(pairs_within(hashes, radius), brute_within(hashes, radius))
    others = np.concatenate([hashes[:40], clustered(100, seed=99, shared_bits=shared_bits)])
    assert np.array_equal(pairs_between(hashes, others, radius), brute_between(hashes, others, radius))


@pytest.mark.parametrize("radius", [4, 8])
def test_many_hashes_with_the_real_plan(radius):
    hashes = clustered(30_000, seed=5)
    assert plan.plan(15, 15, radius, 64)
    pairs = pairs_within(hashes, radius)
    part = brute_between(hashes[:300], hashes, radius)
    part = part[part[:, 0] < part[:, 1]]
    assert np.array_equal(pairs[pairs[:, 0] < 300], part)
    assert (np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]) <= radius).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(300, 900), st.integers(0, 2**32), st.integers(0, 16), st.sampled_from([1, 5, 30]))
def test_skewed_hashes_with_planted_neighbours(count, seed, radius, percent):
    """Some percent of all hashes are equal; neighbours are planted at the radius and one bit beyond it."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    hashes[rng.choice(count, max(2, count * percent // 100), replace=False)] = hashes[0]
    near, far, here = rng.choice(np.arange(1, count), 3, replace=False)
    hashes[here] = rng.integers(0, 2**64, dtype=np.uint64)
    for place, distance in ((near, radius), (far, radius + 1)):
        hashes[place] = hashes[here] ^ np.uint64(sum(1 << int(bit) for bit in rng.choice(64, distance, replace=False)))
    pairs = pairs_within(hashes, radius)
    assert np.array_equal(pairs, brute_within(hashes, radius))
    found = set(map(tuple, pairs.tolist()))
    assert (min(here, near), max(here, near)) in found
    assert (min(here, far), max(here, far)) not in found
    assert np.array_equal(pairs_between(hashes[:100], hashes, radius), brute_between(hashes[:100], hashes, radius))


def test_neighbours_come_once_in_one_direction():
    values = np.unique(clustered(5000, seed=3))
    blocks = list(hamming.neighbours(values, values, 6, same=True))
    pairs = np.concatenate([np.sort(np.stack(block, axis=1), axis=1) for block in blocks])
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert len(pairs) == len(brute_within(values, 6))


def test_product_blocks_are_bounded_and_complete(monkeypatch):
    monkeypatch.setattr(groups, "BLOCK", 50)
    _, left = groups.group_equal(np.repeat(np.arange(4, dtype=np.uint64), [1, 30, 2, 5]))
    _, right = groups.group_equal(np.repeat(np.arange(3, dtype=np.uint64), [40, 3, 1]))
    one, two = np.array([0, 1, 1, 2, 3]), np.array([0, 0, 1, 2, 1])
    blocks = list(left.product_blocks(right, one, two))
    assert max(len(i) for i, _ in blocks) < 100
    found = {pair for i, j in blocks for pair in zip(i.tolist(), j.tolist(), strict=True)}
    i, j = left.product(right, one, two)
    assert found == set(zip(i.tolist(), j.tolist(), strict=True))
    assert sum(len(i) for i, _ in blocks) == len(found) == 40 + 1200 + 90 + 2 + 15


@pytest.mark.parametrize(
    ("hashes", "radius"),
    [
        (np.zeros(3, np.uint64), 17),
        (np.zeros(3, np.uint64), -1),
        (np.zeros(3, np.int64), 4),
        (np.zeros((3, 1), np.uint64), 4),
    ],
)
def test_bad_arguments(hashes, radius):
    with pytest.raises(ValueError, match="must be"):
        pairs_within(hashes, radius)
    with pytest.raises(ValueError, match="must be"):
        pairs_between(hashes, np.zeros(1, np.uint64), radius)


@pytest.mark.parametrize("tile", [(8, 32), (7, 5), (300, 300)])
def test_brute_force_in_tiles(tile, monkeypatch):
    monkeypatch.setattr(hamming, "_TILE", tile)
    monkeypatch.setattr(hamming, "BLOCK", 50)
    hashes, others = clustered(200, seed=1), clustered(70, seed=1)
    assert not plan.plan(8, 8, 16, 64), "this test wants brute force"
    assert np.array_equal(pairs_within(hashes, 16), brute_within(hashes, 16))
    assert np.array_equal(pairs_between(hashes, others, 16), brute_between(hashes, others, 16))
