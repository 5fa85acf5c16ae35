"""Hashes of columns, and which rows are equal by them."""

import numpy as np
import pytest

from curate.duplicates.mixing import first_equal, mixed, mixed_columns, mixed_lists

MASK = 2**64 - 1


def splitmix(value, salt=0):
    """One number, by Python's whole numbers."""
    value = (value + salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


@pytest.mark.parametrize("count", [0, 1, 1 << 14, (1 << 14) + 3])
def test_numbers_are_mixed_as_one_by_one(count):
    values = np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    assert mixed(values, 3).tolist() == [splitmix(value, 3) for value in values.tolist()]


def test_rows_that_are_equal_by_both_hashes():
    rng = np.random.default_rng(1)
    one, other = (rng.integers(0, most, 3000).astype(np.uint64) for most in (50, 3))
    pairs = list(zip(one.tolist(), other.tolist(), strict=True))
    first = first_equal(one, other)
    assert first.tolist() == [pairs.index(pair) for pair in pairs]
    assert first_equal(one[:0], other[:0]).tolist() == []


def test_equal_lists_have_equal_hashes_and_others_have_not():
    lists = [[], [1], [2], [1, 2], [2, 1], [1, 1], [1], [1, 2], [0], [0, 0]]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in lists])])
    values = np.array([value for each in lists for value in each], np.uint64)
    hashes = mixed_lists(values, offsets).tolist()
    assert [hashes.index(each) for each in hashes] == [lists.index(each) for each in lists]
    columns = [np.array([0, 0, 1, 1, 0], np.uint64), np.array([0, 1, 0, 1, 0], np.uint64)]
    assert len(set(mixed_columns(columns).tolist())) == 4
