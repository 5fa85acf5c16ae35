"""Locks that a process shares with those it starts: taken as long as any of them lives, free once all are gone.

Whether something still runs is told by its lock and never by its number: the system gives numbers again, and they
mean nothing in another container or after a restart.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_PAUSE = 0.05


def take(path: Path, *, wait: float = 0.0) -> int | None:
    """Take a lock.

    Args:
        wait: seconds to try.

    Returns:
        The descriptor that holds it: closing it lets go, unless a child was given it. None: others held it all along.

    Raises:
        OSError: the file cannot be written.
    """
    import fcntl  # not on Windows, where the pages are read-only

    until = time.monotonic() + wait
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(descriptor)
                return None
            time.sleep(_PAUSE)
        else:
            return descriptor


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock; false where nobody ever took it."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
