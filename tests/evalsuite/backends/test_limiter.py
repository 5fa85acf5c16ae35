"""The window that adapts to a server, and what its errors mean. Pure functions."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.backends.limiter import Window, after_overload, after_round, first_window


def settled(capacity: float, ceiling: int = 64, rounds: int = 60) -> list[int]:
    """Window sizes against a server whose rate is the size up to ``capacity``, and no more."""
    window, sizes = first_window(ceiling), []
    for _ in range(rounds):
        sizes.append(window.limit)
        window = after_round(window, min(float(window.limit), capacity))
    return sizes


@pytest.mark.parametrize(("capacity", "low", "high"), [(1, 4, 5), (12, 8, 16), (1000, 64, 64)])
def test_window_follows_the_capacity_of_the_server(capacity: float, low: int, high: int) -> None:
    tail = settled(capacity)[20:]
    assert low <= min(tail) and max(tail) <= high * 1.2 + 1


def test_fast_server_is_used_fully_within_a_few_rounds() -> None:
    assert settled(1e9)[:6] == [4, 8, 16, 32, 64, 64]


def test_overload_halves_once_and_recovers_slowly() -> None:
    window = after_overload(Window(40, 64))
    assert window.limit == 20 and not window.doubling
    limits = []
    for _ in range(30):
        window = after_round(window, float(window.limit))
        limits.append(window.limit)
    assert limits[0] == 20 and 20 < limits[-1] <= 64
    assert max(b - a for a, b in itertools.pairwise(limits)) <= 8


@given(st.integers(1, 200), st.lists(st.one_of(st.none(), st.floats(0.001, 1e6)), max_size=80))
def test_window_stays_within_its_bounds(ceiling: int, events: list[float | None]) -> None:
    window = first_window(ceiling)
    for rate in events:
        window = after_overload(window) if rate is None else after_round(window, rate)
        assert 1 <= window.limit <= ceiling
        assert replace(window, limit=window.limit) == window
