"""The worker: takes jobs from the queue, one at a time, until none waits.

It is a process of its own, so that jobs outlive the server; jobs are processes of their own groups, so that they
outlive the worker. A new worker goes on with a job whose worker died.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dashboards.jobs.commands import command_of, environment, in_a_terminal
from dashboards.jobs.locks import is_held, take
from dashboards.jobs.store import (
    ALIVE,
    LOG,
    Job,
    Lane,
    State,
    all_jobs,
    begin_next,
    end,
    folder_of,
    in_order,
    jobs_folder,
    note_process,
    stop_asked,
    unseen_end,
    worker_lock,
)
from winnow.errors import UserError

_PAUSE = 0.2
_LANES: tuple[Lane, ...] = ("run", "check")


def ensure_workers(root: Path) -> None:
    """Start a worker for each lane in which a job waits, or runs without a worker. Returns at once."""
    for lane in _LANES:
        jobs = [job for job in all_jobs(root, lane) if job.machine == platform.node()]
        needed = any(job.state in ("waiting", "running") for job in jobs)
        if needed and not is_held(worker_lock(root, lane, platform.node())):
            with (jobs_folder(root) / f"worker-{lane}.log").open("ab") as log:
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "dashboards.jobs", str(root), lane],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment(),
                )  # fmt: skip


def work(root: Path, lane: Lane, *, grace: float = 60.0) -> None:
    """Run the jobs of a lane until none waits; nothing if another worker of this machine does.

    Args:
        grace: seconds that a stopped job has to end by itself.
    """
    # One that has just found the queue empty is about to leave.
    mine = take(worker_lock(root, lane, platform.node()), wait=5)
    if mine is None:
        return
    try:
        while True:
            _finish_orphans(root, lane, grace)
            if not in_order(all_jobs(root, lane)):
                return
            turn = take(_machine_lock(lane), wait=1)
            if turn is None:
                continue  # other data folders have queues too
            try:
                job = begin_next(root, lane)
                if job is not None:
                    _run(root, job, turn, grace)
            finally:
                os.close(turn)
    finally:
        os.close(mine)


def _machine_lock(lane: Lane) -> Path:
    """One job at a time on this machine, whatever data folder it belongs to; for this user."""
    return Path(tempfile.gettempdir()) / f"winnow-{getpass.getuser()}-{lane}.lock"


def _run(root: Path, job: Job, turn: int, grace: float) -> None:
    folder = folder_of(root, job)
    alive = take(folder / ALIVE, wait=5)
    if alive is None:
        end(root, job, "failed", code=None, note="its former process still runs")
        return
    try:
        with (folder / LOG).open("ab") as log:
            try:
                command = command_of(job.stage, folder, job.options, check=job.lane == "check")
                log.write(f"$ {in_a_terminal(command)}\n".encode())
                log.flush()
                process = subprocess.Popen(
                    command, cwd=job.below, env=environment(), stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(alive, turn),
                )  # fmt: skip
            except (UserError, OSError) as error:
                log.write(f"error: {error}\n".encode())
                end(root, job, "failed", code=None, note="could not be started")
                return
        job = note_process(root, job, process.pid)
    finally:
        os.close(alive)
    _await(root, job, lambda: _has_ended(process), grace)
    _signal(process.pid, signal.SIGKILL)  # what it left behind; its number is ours until we have waited for it
    code = process.wait()
    state, note = _outcome(code, stopped=stop_asked(root, job) is not None)
    end(root, job, state, code=code, note=note)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _outcome(code: int, *, stopped: bool) -> tuple[State, str]:
    if code == 0:
        return "finished", ""
    if stopped:
        return "stopped", ""
    if code < 0:
        return "interrupted", f"ended by {signal.Signals(-code).name}"
    if code == 130:
        return "interrupted", "ended by Ctrl-C"
    return "failed", f"exit code {code}"


def _await(root: Path, job: Job, ended: Callable[[], bool], grace: float) -> None:
    """Wait for the end of a job; if it is to stop, ask it as Ctrl-C does, then more firmly."""
    asked: float | None = None
    sent: set[signal.Signals] = set()
    while not ended():
        wish = stop_asked(root, job)
        if wish is not None and job.process is not None:
            asked = asked or time.monotonic()
            waited = time.monotonic() - asked
            due = [signal.SIGINT]
            due += [signal.SIGTERM] if waited > grace else []
            due = [signal.SIGKILL] if wish == "kill" or waited > 1.25 * grace else due
            for each in due:
                if each not in sent:
                    _signal(job.process, each)
                    sent.add(each)
        time.sleep(_PAUSE)


def _signal(group: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, which)


def _finish_orphans(root: Path, lane: Lane, grace: float) -> None:
    """Await the jobs whose worker died, and note how those ended that ended without one."""
    for job in all_jobs(root, lane):
        if job.state == "running" and job.machine == platform.node():
            alive = folder_of(root, job) / ALIVE
            _await(root, job, lambda alive=alive: not is_held(alive), grace)  # type: ignore[misc]
            state, note = unseen_end(root, job)
            end(root, job, state, code=None, note=note)
