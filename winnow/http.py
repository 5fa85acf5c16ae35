"""What an attempt can end with, and whether another one is worth it."""

from __future__ import annotations

import datetime
import random
from email.utils import parsedate_to_datetime

RETRIED = frozenset({408, 425, 429}) | frozenset(range(500, 600))
_CLASSES = {404: "remote_404", 410: "remote_404", **dict.fromkeys((401, 402, 403, 407, 451), "remote_denied")}


class FetchError(Exception):
    """An attempt that brought no image.

    Attributes:
        kind: class of ``winnow.images``.
        detail: status or cause, for the journal.
        retry: another attempt may succeed.
        wait: seconds that the server asked to wait, None if it did not.
        no_answer: nobody answered at all, which says something about the host.
    """

    def __init__(
        self, kind: str, detail: str, *, retry: bool = False, wait: float | None = None, no_answer: bool = False
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.retry, self.wait, self.no_answer = kind, detail, retry, wait, no_answer


def refused(status: int, retry_after: str | None) -> FetchError:
    """What a status other than success means."""
    if status in RETRIED:
        return FetchError("remote_unavailable", f"HTTP {status}", retry=True, wait=asked_to_wait(retry_after))
    return FetchError(_CLASSES.get(status, "remote_http"), f"HTTP {status}")


def asked_to_wait(retry_after: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header (a number or a date), None if there is none that makes sense."""
    if not retry_after:
        return None
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


def pause(attempt: int, backoff: float, longest: float) -> float:
    """Seconds before the next attempt: doubling, with jitter so that many do not come back at once."""
    return min(longest, backoff * 2 ** min(attempt, 30)) * random.uniform(0.5, 1.0)
