"""An upstream and a guard as processes of their own, as in use."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from serving.guard.policy import Policy
from winnow.errors import UserError

SYSTEM = (
    "You answer questions about the pictures of a museum of applied minerals, and you never talk about prices,"
    " loans, other visitors or the people who work here."
)
WORD = "zanzibarite"  # no mineral's name


def policy_for_cases(policy: Policy) -> Policy:
    """A policy as the cases expect it: a system prompt, a forbidden word, all kinds of personal data, nobody's keys."""
    out = policy.text_out.model_copy(
        update={
            "words": (*policy.text_out.words, WORD),
            "pii": ("email", "phone", "iban", "card", "ssn", "credentials"),
        }
    )
    changed = {"text_out": out, "keys": (), "upstream_key_env": None, "corrections": None, "verdict": "error"}
    log = policy.log.model_copy(update={"folder": None})
    return policy.model_copy(update={**changed, "log": log, "system_prompt": policy.system_prompt or SYSTEM})


@contextlib.contextmanager
def upstream(folder: Path, replies: Mapping[str, str]) -> Iterator[str]:
    """The address of an upstream, up to ``/v1``."""
    file = folder / "replies.json"
    file.write_text(json.dumps(dict(replies)), encoding="utf-8")
    port = _free_port()
    command = [sys.executable, "-m", "serving.guard.trial.upstream", str(port), str(file)]
    with _process(command, f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}/v1"


@dataclass(frozen=True)
class Served:
    """A guard that runs: its address up to ``/v1``, and its process."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time of the guard and its workers so far; NaN where there is no ``/proc``."""
        try:
            below = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
            stats = [Path(f"/proc/{pid}/stat").read_text(encoding="ascii") for pid in (str(self.pid), *below)]
        except OSError:
            return math.nan
        ticks = (sum(map(int, text.rpartition(")")[2].split()[11:13])) for text in stats)
        return sum(ticks) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def guard(folder: Path, policy: Policy, upstream_url: str) -> Iterator[Served]:
    """A guard before an upstream."""
    file = folder / "policy.yaml"
    file.write_text(yaml.safe_dump(policy.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "serving",
        "guard",
        "--upstream",
        upstream_url,
        "--policy",
        str(file),
        "--port",
        str(port),
    ]
    with _process(command, f"http://127.0.0.1:{port}/health") as pid:
        yield Served(f"http://127.0.0.1:{port}/v1", pid)


@contextlib.contextmanager
def _process(command: list[str], healthy: str) -> Iterator[int]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        _await(process, healthy)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[str], healthy: str) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else "").strip().splitlines()
            raise UserError(f"guard-test: a server did not start: {said[-1] if said else 'it said nothing'}")
        with contextlib.suppress(URLError, OSError), urlopen(healthy, timeout=5):
            return
        time.sleep(0.1)
    raise UserError("guard-test: a server did not start in 300 seconds")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
