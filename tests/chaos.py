"""Kill `curate run` and its workers at random moments; what it leaves is compared byte by byte with an undisturbed run.

python -m tests.chaos [--kills 50] [--seed 0]      `make chaos`

Killed with SIGKILL are the command with all its workers, the command alone, and one worker. A killed command is run
again, so is one that has ended; one that ends by itself must succeed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.curate.killed_set import make, outputs

REPO = Path(__file__).parents[1]
Victims = dict[str, Callable[[int], bool]]  # name → kills one while command PID runs; False: there was none


def run(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "curate", "run", "recipe.yaml"]
        return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, stdout=log, stderr=log)


def children(parent: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def named(process: int, words: str) -> bool:
    try:
        return words in Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return False


def kill(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return True
    return False


def local_victims(chance: random.Random) -> Victims:
    def all_of(command: int) -> bool:
        os.killpg(command, signal.SIGKILL)
        return True

    def worker(command: int) -> bool:
        workers = [child for child in children(command) if named(child, "multiprocessing.spawn")]
        return bool(workers) and kill(chance.choice(workers))

    return {"command and workers": all_of, "command": kill, "worker": worker}


def chaos(
    folder: Path, kills: int, chance: random.Random, victims: Victims, environment: dict[str, str]
) -> Counter[str]:
    """Run with so many kills; returns how many of each kind there were.

    Raises:
        AssertionError: a run has failed by itself, or has left other bytes than an undisturbed one.
    """
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    for place in (undisturbed, killed):
        make(place)
    begun = time.monotonic()
    assert run(undisturbed, environment).wait() == 0, (undisturbed / "log").read_text()
    seconds, expected = time.monotonic() - begun, outputs(undisturbed)
    done: Counter[str] = Counter()
    names = sorted(victims)
    while done.total() < kills:
        command = run(killed, environment)
        while command.poll() is None and done.total() < kills:
            # The first half second is Python importing.
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(timeout=0.5 + seconds * chance.uniform(0, 0.6))
                break
            name = chance.choice(names)
            done[name] += victims[name](command.pid)
        if command.wait() != -signal.SIGKILL:
            check(command, killed, expected)
            shutil.rmtree(killed / "out")
    command = run(killed, environment)
    command.wait()
    check(command, killed, expected)
    assert not list((killed / "out").rglob("*.tmp"))
    return done


def check(command: subprocess.Popen[bytes], folder: Path, expected: dict[str, object]) -> None:
    """Whether a run that ended by itself has left what it must."""
    assert command.returncode == 0, (folder / "log").read_text()
    found = outputs(folder)
    unlike = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
    assert not unlike, f"other bytes than those of an undisturbed run: {json.dumps(unlike)}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    chance, environment = random.Random(asked.seed), {**os.environ, "PYTHONPATH": str(REPO)}
    with tempfile.TemporaryDirectory() as folder:
        done = chaos(Path(folder), asked.kills, chance, local_victims(chance), environment)
    print(f"the same bytes after {done.total()} kills: {', '.join(f'{name} {n}' for name, n in sorted(done.items()))}")


if __name__ == "__main__":
    main()
