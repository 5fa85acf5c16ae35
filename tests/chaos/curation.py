"""`curate run` on this machine: the command, one of its workers, or all of them are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

from tests.chaos.kills import Victims, Work, kill
from tests.curate.killed_set import make, outputs
from tests.processes import children, runs


def curation(chance: random.Random) -> Work:
    """On the set of ``tests.curate.killed_set``, with two workers."""
    command = [sys.executable, "-m", "curate", "run", "recipe.yaml"]
    return Work(make, lambda: command, outputs, _victims(chance), start_up=0.5)


def _victims(chance: random.Random) -> Victims:
    def all_of(command: subprocess.Popen[bytes]) -> bool:
        os.killpg(command.pid, signal.SIGKILL)
        return True

    def worker(command: subprocess.Popen[bytes]) -> bool:
        workers = [child for child in children(command.pid) if runs(child, "multiprocessing.spawn")]
        return bool(workers) and kill(chance.choice(workers))

    return {"command and workers": all_of, "command": lambda command: kill(command.pid), "worker": worker}
