"""One writer at a time for a place on object storage: an object that is written only where there is none.

The holder writes its lock again every 20 s. A lock that does not change for 60 s was left by a run that was killed, and
so was one of a process of this machine that no longer runs: the next run takes it over. A lock of one's own that has
become another's is noticed before anything more is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.files import is_running, parse_json
from winnow.remote import addresses, storage

LOCK = "lock.json"
_BEAT = 20.0  # seconds
_BEATS_MISSED = 3
_LARGEST = 10_000  # bytes of a lock


@contextlib.contextmanager
def locked(url: str) -> Iterator[Callable[[], None]]:
    """Hold a lock for the block.

    Yields:
        Raises UserError if another run has taken the lock over, or the store does not answer.

    Raises:
        UserError: another run holds it, or the store does not answer.
    """
    token = uuid.uuid4().hex
    _take(url, token)
    ended, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            with contextlib.suppress(UserError):  # a store that is away for a moment
                if _read(url).get("token") != token:
                    lost.set()
                    return
                storage.put_bytes(_written(token), url)

    def check() -> None:
        if lost.is_set() or _read(url).get("token") != token:
            raise UserError(
                f"{addresses.parent(url)}: another run has taken over; run it again when that one has ended"
            )

    beating = threading.Thread(target=beat, name="lock", daemon=True)
    beating.start()
    try:
        yield check
    finally:
        ended.set()
        beating.join()
        with contextlib.suppress(UserError):
            if _read(url).get("token") == token:
                storage.remove([url])


def _take(url: str, token: str) -> None:
    if storage.put_if_absent(url, _written(token)):
        return
    held = _read(url)
    if not _is_dead(url, held):
        who, since = held.get("owner", "another run"), held.get("since", "some time")
        raise UserError(f"{addresses.parent(url)}: {who} is at work there since {since}; wait for it, or end it")
    # Of two that see the same dead lock, the one that has the lock on it replaces it.
    guard = f"{url}.{held.get('token', 'damaged')}"
    _take(guard, token)
    try:
        if _read(url).get("token") != held.get("token"):
            raise UserError(f"{addresses.parent(url)}: another run has just begun there; wait for it, or end it")
        storage.put_bytes(_written(token), url)
    finally:
        storage.remove([guard])


def _is_dead(url: str, held: dict[str, Any]) -> bool:
    if held.get("machine") == _machine():
        return not is_running(held.get("pid"))
    print(f"{url}: held by {held.get('owner')}; waiting for a sign of life", file=sys.stderr)
    for _ in range(_BEATS_MISSED):
        time.sleep(_BEAT)
        if _read(url) != held:
            return False
    return True


def _written(token: str) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    value = {"owner": f"{socket.gethostname()}:{os.getpid()}", "machine": _machine(), "pid": os.getpid()}
    return json.dumps({**value, "token": token, "since": now}).encode()


def _machine() -> str:
    """Tells machines, and containers of one machine, apart."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {uuid.getnode()}"


def _read(url: str) -> dict[str, Any]:
    """The lock; empty if there is none, or it cannot be understood."""
    try:
        value = parse_json(storage.read(url, _LARGEST))
    except addresses.StorageError as error:
        if error.kind != "remote_404":
            raise
        return {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
