"""How fast a run goes now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from evalsuite.backends.served.window import Window, after_overload, after_round


@dataclass
class Pace:
    """How fast the run goes now: the window, its current round, and a pause that the server asked for."""

    window: Window
    round_began: float = field(default_factory=time.monotonic)
    answered: int = 0
    slowed_at: float = 0.0
    resume_at: float = 0.0

    def count(self) -> None:
        """One more answer; a round is as many as the window is wide."""
        self.answered += 1
        if self.answered >= self.window.limit:
            now = time.monotonic()
            self.window = after_round(self.window, self.answered / max(now - self.round_began, 1e-9))
            self.round_began, self.answered = now, 0

    def slow_down(self, asked_at: float, wait: float | None) -> None:
        """Halve the window, once for all requests that were in flight together; wait as told."""
        now = time.monotonic()
        if asked_at > self.slowed_at:
            self.window = after_overload(self.window)
            self.slowed_at, self.round_began, self.answered = now, now, 0
        if wait:
            self.resume_at = max(self.resume_at, now + wait)
