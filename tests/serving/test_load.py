"""The open loop: when questions are due, and what is said of the answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.load import Timing, due_moments, summary
from serving.start import parse_users
from winnow.errors import UserError


@given(users=st.integers(1, 50), every=st.floats(0.1, 20), seconds=st.floats(1, 60), seed=st.integers(0, 99))
def test_moments_are_in_order_within_the_time_and_one_a_user_at_least(users, every, seconds, seed) -> None:
    moments = due_moments(users, every, seconds, seed)
    assert moments == sorted(moments) and len(moments) >= users
    assert moments[0] >= 0 and moments[-1] <= seconds
    assert moments == due_moments(users, every, seconds, seed)


def test_moments_are_a_poisson_process_of_the_rate() -> None:
    gaps = np.diff(due_moments(16, 4.0, 5_000.0, 1))
    assert np.mean(gaps) == pytest.approx(0.25, rel=0.03)
    assert np.std(gaps) == pytest.approx(0.25, rel=0.05)  # of an exponential distribution: its mean


def test_a_level_counts_failures_apart_and_sees_a_growing_backlog() -> None:
    steady = [Timing(0.1, 0.2, 5)] * 40
    level = summary(4, steady, [0.5] * 40, 10.0, 10.0)
    assert (level.p50, level.first_p99, level.tokens_per_second, level.keeps_up) == (0.2, 0.1, 20.0, True)
    failing = summary(4, [*steady, Timing(None, 3.0, 0, "busy")], [0.5] * 41, 10.0, 10.0)
    assert (failing.failed, failing.answered, failing.p99, failing.errors) == (1, 40, 0.2, ["busy"])
    assert not failing.keeps_up
    growing = summary(4, [Timing(0.1 * n, 0.2 * n, 5) for n in range(1, 41)], [0.5] * 40, 10.0, 10.0)
    assert not growing.keeps_up
    nothing = summary(1, [Timing(None, 1.0, 0, "down")], [0.1], 1.0, 1.0)
    assert nothing.p50 is None and nothing.served == 0


def test_users_are_numbers() -> None:
    assert parse_users("1,4, 16") == (1, 4, 16) and parse_users("") == ()
    for wrong in ("many", "0", "1,-2", "2000"):
        with pytest.raises(UserError, match="--users"):
            parse_users(wrong)
