"""Failed HTTP requests: which are worth another attempt, what ``Retry-After`` asks for, how long to back off."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping

# Statuses that another attempt may change: timeout, too early, too many requests, and errors of the server.
TRANSIENT = frozenset({408, 425, 429}) | frozenset(range(500, 600))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds ≥ 0 that a response asks to wait; None if it does not say, or not in a form that is known.

    Read are ``Retry-After-Ms`` (as OpenAI's servers send it) and ``Retry-After``, a number or an HTTP date
    (RFC 9110, section 10.2.3).

    Args:
        headers: of the response, in a mapping that ignores case or has lower-case names.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            parsed = email.utils.parsedate_tz(value)
            if parsed is None:
                continue
            seconds = email.utils.mktime_tz(parsed) - time.time()
        if not math.isnan(seconds):
            return max(0.0, seconds)
    return None


def backoff(
    failures: int, *, base: float, longest: float, asked: float | None = None, rng: random.Random | None = None
) -> float:
    """Seconds to wait before the next attempt: doubling, with jitter so that many clients do not return at once.

    Args:
        failures: attempts that have failed so far, from 1.
        base, longest: seconds after the first failure, and at most.
        asked: seconds that the server asked for; waits at least those.
        rng: of the jitter, which takes off up to a half.
    """
    doubled = min(longest, base * 2.0 ** min(failures - 1, 30))
    return max(asked or 0.0, doubled * (rng or random).uniform(0.5, 1.0))
