"""Kill a command and what works for it at random moments; what it leaves is compared with what it leaves undisturbed.

A killed command is run again, so is one that has ended; one that ends by itself must succeed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
Victims = Mapping[str, Callable[["subprocess.Popen[bytes]"], bool]]  # name → kills one; False: there was none


@dataclass(frozen=True)
class Work:
    """A command whose result is ``out`` in the folder that it is started in.

    Attributes:
        make: writes what it reads.
        command: with its arguments.
        outputs: its result by name, without times.
        victims: what can be killed while it runs.
        start_up: seconds in which it only imports.
        is_whole: whether all that could be done is done; else it is run again.
        victim_is_gone: what the command says, and ends, that found a victim gone when it started; it is run again.
        clear: removes the result.
    """

    make: Callable[[Path], None]
    command: Callable[[], list[str]]
    outputs: Callable[[Path], dict[str, Any]]
    victims: Victims
    start_up: float = 0.0
    is_whole: Callable[[Path], bool] = lambda _: True
    victim_is_gone: str | None = None
    clear: Callable[[Path], None] = lambda folder: shutil.rmtree(folder / "out")


def chaos(work: Work, folder: Path, kills: int, chance: random.Random) -> Counter[str]:
    """Run with so many kills; returns how many of each kind there were.

    Raises:
        AssertionError: a run has failed by itself, or has left other bytes than an undisturbed one.
    """
    work.make(folder)
    begun = time.monotonic()
    command = run(work, folder)
    command.wait()
    seconds, expected = time.monotonic() - begun, result(work, command, folder)
    work.clear(folder)
    done: Counter[str] = Counter()
    names = sorted(work.victims)
    moments = random.Random(chance.random())  # of their own: how many are drawn is a matter of time
    while True:
        command = run(work, folder)
        while command.poll() is None and done.total() < kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(timeout=work.start_up + seconds * moments.uniform(0, 0.6))
                break
            name = chance.choice(names)
            done[name] += work.victims[name](command)
        if command.wait() in (-signal.SIGKILL, -signal.SIGTERM):
            continue
        if work.victim_is_gone and work.victim_is_gone in (folder / "log").read_text():
            continue
        found = result(work, command, folder)
        if not work.is_whole(folder):
            continue
        unlike = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
        assert not unlike, f"other than after an undisturbed run: {json.dumps(sorted(unlike))} in {folder}"
        if done.total() >= kills:
            return done
        work.clear(folder)


def run(work: Work, folder: Path) -> subprocess.Popen[bytes]:
    """Start the command, with all processes that it starts in a group of their own."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            work.command(), cwd=folder, env=environment, start_new_session=True, stdout=log, stderr=log
        )


def result(work: Work, command: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    """What a command that ended by itself has left."""
    assert command.returncode == 0, (folder / "log").read_text(errors="replace")
    left = sorted(map(str, (folder / "out").rglob("*.tmp")))
    assert not left, f"left behind: {', '.join(left)}"
    return work.outputs(folder)


def kill(process: int) -> bool:
    """Kill a process; False if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return True
    return False


def files_below(folder: Path, without: Iterable[str] = ()) -> dict[str, Any]:
    """Digest of every file, by its path, but for files and folders of some names."""
    left = set(without)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not left & {*path.relative_to(folder).parts}
    }


def timeless(value: Any, names: Iterable[str]) -> Any:
    """JSON without the keys of these names, wherever they are."""
    names = set(names)
    if isinstance(value, dict):
        return {key: timeless(inner, names) for key, inner in value.items() if key not in names}
    return [timeless(inner, names) for inner in value] if isinstance(value, list) else value
