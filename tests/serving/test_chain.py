"""Train, merge, serve with a real engine, check: what is served is what was trained, and another model is found out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serving.check import CheckSettings
from serving.engines import Launch
from serving.examples.ask import ask
from serving.process import running
from serving.start import check_server
from tests import forks
from tests.processes import free_port
from winnow.demo.deploy import POLICY, ask_questions, attack, questions_of

pytestmark = pytest.mark.slow


class Served:
    """`serve start` in a process, as a user has it."""

    def __init__(self, model: Path, log: Path, *more: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}/v1"
        self.log = log
        command = [sys.executable, "-m", "serving", "start", str(model), "--engine", "transformers", "--port"]
        self.output = log.open("w")
        self.process = subprocess.Popen([*command, str(port), *more], stdout=self.output, stderr=self.output)

    def __enter__(self) -> Served:
        deadline = time.monotonic() + 300
        while "ready: " not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.output.close()


def check(served: Served, trained, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = forks.python(
        "-m", "serving", "check", served.url, "--run", str(trained.run), "--task", str(trained.task), "--rows", "40",
        "--users", "2", "--seconds", "2", "--every", "1", "--out", str(out), *more,
    )  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def ask_through_a_guard(served: Served, trained) -> None:
    """What is harmless comes through with the answer of the model, an attack does not."""
    port = free_port()
    command = [sys.executable, "-m", "serving", "guard", "--upstream", served.url, "--policy", str(POLICY)]
    origin = f"http://127.0.0.1:{port}"
    guard = Launch([*command, "--port", str(port)], f"{origin}/v1", f"{origin}/health", str(trained.merged), [])
    with running(guard, timeout=120, output=served.log.with_suffix(".guard").open("wb")):
        rows = questions_of(str(trained.task), 3)
        assert len(ask_questions(guard, rows)) == 3
        row, file = rows[0]
        behind, alone = (ask(url, file, row.question) for url in (guard.url, served.url))
        assert behind == alone and not behind.startswith("refused")
        assert attack(guard)
        assert not attack(replace(guard, url=served.url)), "without the guard the model answers it"


def test_the_served_model_is_the_trained_one(trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the guard's log
    with Served(trained.merged, tmp_path / "log.txt") as served:
        done = check(served, trained, tmp_path / "check")
        assert done.returncode == 0, done.stdout + done.stderr
        ask_through_a_guard(served, trained)
        children = subprocess.run(["pgrep", "-P", str(served.process.pid)], capture_output=True, text=True).stdout
    assert served.process.returncode == 0 and "stopped" in served.log.read_text()
    for child in children.split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)
    found = json.loads((tmp_path / "check/check.json").read_text())
    assert found["passed"] and found["faults"] == []
    assert found["answers"]["prompt_tokens"] == found["answers"]["answers"] == 1.0
    assert found["image_tokens"]["served"] == found["image_tokens"]["trained"] == 5 * found["image_tokens"]["prompts"]
    (task,) = found["accuracy"]["tasks"]
    assert task["adapter"] == task["exported"] > 0 and task["rows"] == 40
    (level,) = found["load"]
    assert level["answered"] == level["asked"] >= 2 and level["tokens_per_second"] > 0 and level["p50"] > 0
    assert json.loads((tmp_path / "check/manifest.json").read_text())["stage"] == "serve check"
    assert "It is the trained model." in (tmp_path / "check/README.md").read_text()


def test_another_model_is_found_out(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Served(trained.base, tmp_path / "log.txt", "--python", str(forks.executable(tmp_path))) as served:
        asked = CheckSettings(served.url, trained.run, tasks=(str(trained.task),), rows=8, max_loss=0, users=())
        assert not check_server(asked, tmp_path / "check")
    printed = capsys.readouterr().out
    assert "greedy answers differ by more than rounding" in printed and "does not serve the model" in printed
    found = json.loads((tmp_path / "check/check.json").read_text())
    assert not found["passed"] and found["answers"]["unexplained"] > 0
    assert found["answers"]["prompt_tokens"] == 1.0, "the same processor, so it is the weights"
