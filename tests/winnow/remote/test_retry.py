"""Which failed requests are tried again, and when."""

import random

import pytest

from winnow.remote.retry import TRANSIENT, backoff, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"retry-after": "7"}, 7.0), ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
     ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0), ({"retry-after": "soon"}, None),
     ({"retry-after": "nan"}, None), ({"retry-after": "-3"}, 0.0)],
)  # fmt: skip
def test_retry_after_is_read_in_every_form(headers, seconds):
    assert retry_after(headers) == seconds


def test_waits_double_up_to_the_longest_and_obey_the_server():
    rng = random.Random(0)
    waits = [backoff(failures, base=0.5, longest=30, rng=rng) for failures in range(1, 12)]
    assert all(0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(waits[:6]))
    assert max(waits) <= 30
    assert backoff(1, base=0.5, longest=30, asked=40.0, rng=rng) == 40.0
    assert backoff(10_000, base=1, longest=60) <= 60


def test_what_another_attempt_may_change():
    assert {408, 425, 429, 500, 503, 529} <= TRANSIENT
    assert not TRANSIENT & {200, 301, 400, 401, 403, 404, 410, 416, 451}
