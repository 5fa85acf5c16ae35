"""Processes of this machine: who started them, what they run, and ports for those that listen."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

_KEPT: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens; until this process ends, nobody else is given it.

    A socket that never listens keeps it: servers may still take the port by its number, and who connects is refused.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _KEPT.append(kept)
    return int(kept.getsockname()[1])


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
