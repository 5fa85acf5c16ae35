"""How many requests a server gets at a time: a window that grows while that pays and halves on overload.

Additive increase, multiplicative decrease (Chiu and Jain 1989), with growth only while it pays: by Little's
law the rate of answers is requests in flight over latency, so a server that merely queues requests shows a
longer latency and no higher rate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

_WORTH = 1.05  # a larger window must raise the rate of answers at least by this factor
_REST = 8  # rounds at one size before a larger one is tried again
_FIRST = 4


@dataclass(frozen=True, slots=True)
class Window:
    """Requests in flight.

    Attributes:
        limit: now.
        ceiling: the most there may ever be.
        smaller: the size before the last growth; the way back when growth did not pay.
        rate: answers a second at that size; 0 when nothing is known.
        rest: rounds until the next growth.
        doubling: grow fast until growth first fails to pay.
    """

    limit: int
    ceiling: int
    smaller: int = 1
    rate: float = 0.0
    rest: int = 0
    doubling: bool = True


def first_window(ceiling: int) -> Window:
    """A cautious start."""
    return Window(min(_FIRST, ceiling), ceiling)


def after_round(window: Window, rate: float) -> Window:
    """The next window after ``limit`` answers came at ``rate`` answers a second."""
    if window.rest:
        return replace(window, rest=window.rest - 1, rate=rate, smaller=window.limit)
    if window.limit > window.smaller and rate < _WORTH * window.rate:
        return replace(window, limit=window.smaller, rate=rate, rest=_REST, doubling=False)
    larger = window.limit * 2 if window.doubling else window.limit + max(1, window.limit // 8)
    if window.limit == window.ceiling:
        return replace(window, rate=rate, rest=_REST, smaller=window.limit)
    return replace(window, limit=min(larger, window.ceiling), smaller=window.limit, rate=rate)


def after_overload(window: Window) -> Window:
    """The next window after the server reported overload or let a request time out."""
    half = max(1, window.limit // 2)
    return replace(window, limit=half, smaller=half, rate=0.0, rest=_REST, doubling=False)


@dataclass
class ConcurrencyLimiter:
    """The window of a run, its current round, and a pause that the server asked for."""

    window: Window
    round_began: float = field(default_factory=time.monotonic)
    answered: int = 0
    slowed_at: float = 0.0
    resume_at: float = 0.0

    def count(self) -> None:
        """Count one more answer; a round has as many answers as the window is wide."""
        self.answered += 1
        if self.answered >= self.window.limit:
            now = time.monotonic()
            self.window = after_round(self.window, self.answered / max(now - self.round_began, 1e-9))
            self.round_began, self.answered = now, 0

    def slow_down(self, asked_at: float, wait: float | None) -> None:
        """Halve the window, once for all requests that were in flight together, and pause for ``wait`` seconds."""
        now = time.monotonic()
        if asked_at > self.slowed_at:
            self.window = after_overload(self.window)
            self.slowed_at, self.round_began, self.answered = now, now, 0
        if wait:
            self.resume_at = max(self.resume_at, now + wait)
