"""Verdicts that reviewers found wrong, as the dashboard writes them, and the contents that pass because of that.

A line is a ``winnow.corrections.Correction`` whose ``sample_id`` is ``guard/`` and the digest of what was refused, and
whose ``field`` is ``guard``: ``keep`` lets these very contents pass, ``drop`` says that the guard was right.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from winnow.corrections import read_corrections, resolve
from winnow.errors import UserError

PREFIX = "guard/"
_SECONDS = 2.0  # between two looks at the folder


def digest(contents: str | bytes) -> str:
    """Hex sha256 by which a text or an image is known in the log, a corrections file and an answer's filter."""
    data = contents if isinstance(contents, bytes) else contents.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()


def allowed_of(folder: Path) -> frozenset[str]:
    """Digests of the contents that reviewers let through and agree about.

    Raises:
        UserError: a file cannot be read, or a line is not a correction.
    """
    lines = [line for line in read_corrections(folder) if line.sample_id.startswith(PREFIX)]
    kept = (name for name, found in resolve(lines).items() if any(line.action == "keep" for line in found.agreed))
    return frozenset(name.removeprefix(PREFIX) for name in kept)


class Allowed:
    """The same, read again when a file of the folder has changed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._looked = folder, 0.0
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self._found: frozenset[str] = frozenset()

    def now(self) -> frozenset[str]:
        """What is let through now; what was last read whole where the folder cannot be read."""
        if self._folder is None or time.monotonic() - self._looked < _SECONDS:
            return self._found
        self._looked = time.monotonic()
        try:
            self._read(self._folder)
        except (OSError, UserError) as error:
            print(f"guard: corrections are not read again: {error}", file=sys.stderr)
        return self._found

    def _read(self, folder: Path) -> None:
        stamp = tuple(
            (path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.glob("*.jsonl"))
        )
        if stamp != self._stamp:
            self._found, self._stamp = allowed_of(folder), stamp
