"""An engine as a process: started in a group of its own, awaited, and stopped with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import IO
from urllib.parse import urlsplit

from serving.engines import Launch
from winnow.errors import UserError

_POLL = 0.3  # seconds between two looks whether the engine is up
_PATIENCE = 20.0  # seconds that an engine has to end by itself


class Stopped(Exception):
    """A signal asked the command to stop."""


@contextlib.contextmanager
def running(
    launch: Launch, *, timeout: float, output: IO[bytes] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the engine, wait until it answers, and stop it at the end, on Ctrl-C and on SIGTERM too.

    Args:
        timeout: seconds until it must answer.
        output: where its messages go; None: where this process's go.
        environment: variables in place of, or beside, this process's.

    Raises:
        UserError: it ended, or did not answer in time.
        Stopped: SIGTERM came.
    """
    _check_port(launch)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    process: subprocess.Popen[bytes] | None = None
    signal.signal(signal.SIGTERM, _stop)
    try:
        process = subprocess.Popen(
            launch.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})},
        )  # fmt: skip
        _await_health(process, launch, timeout)
        yield process
    finally:
        for number in before:  # a second Ctrl-C must not leave the engine behind
            signal.signal(number, signal.SIG_IGN)
        if process is not None:
            stop(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_port(launch: Launch) -> None:
    """Refuse a port that another server has, which would answer in the engine's place."""
    address = urlsplit(launch.url)
    with socket.socket(socket.AF_INET6 if ":" in str(address.hostname) else socket.AF_INET) as probe:
        probe.settimeout(2)
        if probe.connect_ex((address.hostname, address.port)) == 0:
            raise UserError(f"{address.netloc}: something listens there already; choose another --port")


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _await_health(process: subprocess.Popen[bytes], launch: Launch, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise UserError(f"{launch.command[0]}: ended with code {code} before it served; its messages say why")
        with contextlib.suppress(OSError), opener.open(launch.health, timeout=5) as answer:
            if answer.status == 200 and process.poll() is None:
                return
        time.sleep(_POLL)
    raise UserError(f"{launch.command[0]}: does not answer at {launch.health} after {timeout:g} s; see --timeout")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything in its group: politely, and after 20 seconds by force."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if process.poll() is not None and not _group_lives(process.pid):
                return
            time.sleep(0.05)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
