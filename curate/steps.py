"""Steps of a run that are skipped when nothing they depend on has changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from winnow.files import digest_of, write_json


class Steps:
    """Runs steps, remembers in ``state.json`` what each was made from, and takes their time.

    Attributes:
        seconds: step → wall time, of the steps that ran.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self.seconds: dict[str, float] = {}
        try:
            self._state: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there or not readable: every step runs
            self._state = {}

    def always(self, name: str, action: Callable[[], object]) -> None:
        """Run a step that is cheap, or that knows by itself what is done."""
        started = time.monotonic()
        action()
        self.seconds[name] = time.monotonic() - started

    def unless_done(self, name: str, key: Any, outputs: Sequence[Path], action: Callable[[], object]) -> None:
        """Run a step unless its outputs are there and were made from the same ``key`` (JSON-able)."""
        digest = digest_of(key)
        if self._state.get(name) == digest and all(output.exists() for output in outputs):
            return
        self.note(name, None)
        self.always(name, action)
        self.note(name, digest)

    def note(self, name: str, value: Any) -> None:
        """Keep a JSON-able value for later runs."""
        if self._state.get(name) != value:
            self._state[name] = value
            write_json(self._path, self._state)

    def noted(self, name: str) -> Any:
        """What ``note`` kept, or None."""
        return self._state.get(name)


def stamp(*paths: Path, below: Path | None = None) -> list[list[Any]]:
    """Name, size and time of files: changes when one of them is written anew, appears or goes.

    Args:
        below: name them relative to this folder, so that a linked copy of it has the same stamps.
    """
    found: list[list[Any]] = []
    for path in paths:
        name = str(path.relative_to(below) if below else path)
        try:
            stat = path.stat()
            found.append([name, stat.st_size, stat.st_mtime_ns])
        except OSError:
            found.append([name, None, None])
    return found
