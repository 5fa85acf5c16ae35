"""The worker with real console commands, and what is left when server, worker or job are killed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from dashboards.jobs import requests, worker
from dashboards.jobs.commands import command_of, environment
from dashboards.jobs.store import all_jobs, call_off, find_job, folder_of, worker_lock
from dashboards.settings import RUNS_VARIABLE
from tests.dashboards.jobs.runs import ANN, awaited, curation, log_of, put
from winnow.run import read_manifest

ENDED = ("finished", "failed", "stopped", "interrupted")


@pytest.fixture(autouse=True)
def allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are allowed, and tests side by side are machines of their own."""
    monkeypatch.setenv(RUNS_VARIABLE, "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def _processes() -> dict[int, str]:
    """Number → state and command line of every process."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True)
    return {int(line.split()[0]): line.split(None, 1)[1] for line in listed.stdout.splitlines()}


def _workers(root: Path) -> list[int]:
    return [number for number, line in _processes().items() if f"-m dashboards.jobs {root}" in line]


def test_a_recipe_is_checked_and_run(tmp_path: Path) -> None:
    recipe = curation(tmp_path, "tiny")
    checked = awaited(
        tmp_path, requests.submit(tmp_path, "curate", "check", recipe, ANN).id, lambda job: job.state in ENDED
    )
    assert checked.state == "finished" and f"ok  source {tmp_path}/raw/tiny" in log_of(tmp_path, checked)
    assert not (tmp_path / "curated").exists()
    job = requests.submit(tmp_path, "curate", "run", recipe, ANN)
    done = awaited(tmp_path, job.id, lambda job: job.state in ENDED)
    assert (done.state, done.code, done.by, done.name) == ("finished", 0, "ann", "tiny")
    assert read_manifest(tmp_path / "curated" / "tiny", finish_with="")["counts"]["rows"] == 3
    assert log_of(tmp_path, done).startswith(f"$ curate run {tmp_path}/jobs/{job.id}/recipe.yaml\n")
    end = time.monotonic() + 300
    while (left := _workers(tmp_path)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == [], "a worker leaves when nothing waits"


def test_a_run_is_stopped_as_by_ctrl_c_and_continued(tmp_path: Path) -> None:
    recipe = curation(tmp_path, "long", images=500)
    job = requests.submit(tmp_path, "curate", "run", recipe, ANN)
    awaited(tmp_path, job.id, lambda job: "read:" in log_of(tmp_path, job))
    requests.stop(tmp_path, job.id, ANN)
    stopped = awaited(tmp_path, job.id, lambda job: job.state in ENDED)
    # Python ends by the signal itself if it came while a compiled module was imported; a shell says 130 for both.
    assert stopped.state == "stopped" and stopped.code in (130, -signal.SIGINT), log_of(tmp_path, stopped)
    assert not (tmp_path / "curated/long/manifest.json").exists()
    # Killed in the middle of what was continued: interrupted, and continued to its end.
    requests.go_on(tmp_path, job.id, ANN)
    running = awaited(
        tmp_path, job.id, lambda job: job.process is not None and log_of(tmp_path, job).count("$ curate run") == 2
    )
    assert running.process is not None
    os.kill(running.process, signal.SIGKILL)
    killed = awaited(tmp_path, job.id, lambda job: job.state in ENDED)
    assert (killed.state, killed.note) == ("interrupted", "ended by SIGKILL")


def test_a_run_outlives_server_and_worker(tmp_path: Path) -> None:
    """The server dies right after the start, the worker amid the run: the run goes on, the next one waits for it."""
    recipe, other = curation(tmp_path, "first", images=8), "name: second\nsources: [{location: nowhere}]\n"
    server = f"""
import os, signal
from pathlib import Path
from dashboards.jobs import requests
from dashboards.jobs.access import Visitor
for text in ({recipe!r}, {other!r}):
    print(requests.submit(Path({str(tmp_path)!r}), "curate", "run", text, Visitor("ann", "here")).id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", server], capture_output=True, text=True, env={**os.environ, **_path()})
    assert done.returncode == -signal.SIGKILL, done.stderr
    first, second = done.stdout.split()
    running = awaited(tmp_path, first, lambda job: job.process is not None)
    killed = _workers(tmp_path)
    for number in killed:
        os.kill(number, signal.SIGKILL)
    assert killed
    while _workers(tmp_path):
        time.sleep(0.05)
    left = find_job(tmp_path, first)
    assert left and left.state == "running" and left.process == running.process
    worker.ensure_workers(tmp_path)  # as the next look at the page does
    ended = awaited(tmp_path, first, lambda job: job.state in ENDED)
    assert ended.state == "finished" and ended.note == "its worker was killed; its result is whole"
    after = awaited(tmp_path, second, lambda job: job.state in ENDED)
    assert after.started and ended.ended and after.started >= ended.ended
    assert (after.state, after.code, after.note) == ("failed", 2, "exit code 2")
    assert "error: nowhere" in log_of(tmp_path, after)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": environment().get("PYTHONPATH", "")}


def test_workers_of_several_servers_and_data_folders_run_one_job_at_a_time(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    jobs = []
    for root in roots:
        recipe = curation(root, "tiny")
        jobs += [(root, put(root, recipe, f"{number}").id) for number in range(2)]
    for _ in range(2):  # two servers look at the same time
        for root in roots:
            worker.ensure_workers(root)
    ended = [awaited(root, id, lambda job: job.state in ENDED) for root, id in jobs]
    assert [job.state for job in ended] == ["finished"] * 4
    spans = sorted((job.started or 0, job.ended or 0) for job in ended)
    assert all(former[1] <= later[0] for former, later in pairwise(spans)), spans
    for root in roots:
        assert all(log_of(root, job).count("$ winnow doctor") == 1 for job in all_jobs(root, "check"))


_STUBBORN = """
import signal, sys, time
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, lambda number, _: print("got", signal.Signals(number).name, flush=True))
print("ready", flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize("asked", [1, 2])
def test_what_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int) -> None:
    monkeypatch.setattr(worker, "command_of", lambda *_, **__: [sys.executable, "-P", "-c", _STUBBORN])
    now = [1.0]  # as the worker sees it
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    job = put(tmp_path, "name: a\n", "a")
    thread = threading.Thread(target=worker.work, args=(tmp_path, "check"), kwargs={"grace": 60.0})
    thread.start()
    awaited(tmp_path, job.id, lambda job: "\nready\n" in log_of(tmp_path, job))
    call_off(tmp_path, job.id, "ann")
    awaited(tmp_path, job.id, lambda job: "\ngot SIGINT" in log_of(tmp_path, job))
    if asked == 2:
        call_off(tmp_path, job.id, "ann")
    else:
        now[0] += 61
        awaited(tmp_path, job.id, lambda job: "\ngot SIGTERM" in log_of(tmp_path, job))
        now[0] += 15
    ended = awaited(tmp_path, job.id, lambda job: job.state in ENDED)
    thread.join()
    assert (ended.state, ended.code) == ("stopped", -signal.SIGKILL)
    assert ("\ngot SIGTERM" in log_of(tmp_path, ended)) == (asked == 1)


def test_nothing_of_a_job_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = """import subprocess, sys
print("left", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)"""
    monkeypatch.setattr(worker, "command_of", lambda *_, **__: [sys.executable, "-P", "-c", leaves])
    job = put(tmp_path, "name: a\n", "a")
    worker.work(tmp_path, "check")
    ended = find_job(tmp_path, job.id)
    assert ended and ended.state == "finished"
    left = int(log_of(tmp_path, ended).rpartition("left")[2])
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if _processes().get(left, "Z").startswith("Z"):  # gone, or dead and not yet waited for
            return
        time.sleep(0.05)
    raise AssertionError(f"process {left} still runs")


def test_commands_take_nothing_from_a_recipe_but_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "20261129-010203-abcdef"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("run: --help\nout: --into\nrows: 3\n")
    for stage in ("curate", "finetune", "evalsuite"):
        for check in (True, False):
            command = command_of(stage, folder, (), check=check)  # type: ignore[arg-type]
            assert command[:3] == [sys.executable, "-P", "-m"] and command[-1] == str(folder / "recipe.yaml")
    merge = command_of("merge", folder, (), check=False)
    assert merge[3:] == ["finetune", "merge", "--out", "--into", "--rows", "3", "--", "--help"]


def test_a_module_in_the_current_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "curate.py").write_text("raise SystemExit('taken')")
    (tmp_path / "winnow.py").write_text("raise SystemExit('taken')")
    job = put(tmp_path, "name: a\nsources: [{location: nowhere}]\n", "a")
    worker.work(tmp_path, "check")
    ended = find_job(tmp_path, job.id)
    assert ended and "taken" not in log_of(tmp_path, ended) and "a curation" in log_of(tmp_path, ended)


def test_a_worker_leaves_if_another_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = put(tmp_path, "name: a\n", "a")
    monkeypatch.setattr(worker, "take", lambda path, *, wait=0: None)
    worker.work(tmp_path, "check")
    waiting = find_job(tmp_path, job.id)
    assert waiting and waiting.state == "waiting"
    assert not (folder_of(tmp_path, job) / "log.txt").exists()
    assert worker_lock(tmp_path, "check", platform.node()).parent == tmp_path / "jobs"
