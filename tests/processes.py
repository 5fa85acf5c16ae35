"""Processes of this machine: who started them, what they run."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children(parent: int) -> list[int]:
    """Processes that a process has started."""
    found: list[int] = []
    for threads_children in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, threads_children.read_text().split())
    return found


def runs(process: int, words: str) -> bool:
    """Whether the command line of a process has these words."""
    try:
        return words in Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return False
