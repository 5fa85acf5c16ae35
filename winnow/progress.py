"""Progress on stderr: a bar with count, rate and time left; in a log, a plain line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 15.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s", style="dim")


class Bar:
    """A progress bar as a context manager; ``advance`` counts finished items.

    In a terminal it draws; in a log it prints a line at most every 15 seconds.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self._console = Console(stderr=True)
        self._started = self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
            console=self._console, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._progress.add_task(label, total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if not sys.stderr.isatty() and self.total != 0:
            self._line()

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more finished items."""
        self.done += count
        self._progress.advance(self._task, count)
        if sys.stderr.isatty() or self.done == self.total:  # leaving prints the last line
            return
        if time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        elapsed = self._last_line - self._started
        rate = self.done / elapsed if elapsed else 0.0
        remaining = max((self.total or 0) - self.done, 0)
        left = f", {remaining / rate:,.0f} s left" if remaining and rate else ""
        of = f"/{self.total:,}" if self.total else ""
        self._console.print(f"{self.label}: {self.done:,}{of}, {rate:,.1f}/s, {elapsed:,.0f} s{left}", highlight=False)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Iterate over ``items`` under a bar."""
    with Bar(label, total) as bar:
        for item in items:
            yield item
            bar.advance()
