"""Engines as processes: awaited, refused ports, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.engines import Launch
from serving.process import Stopped, running
from tests.processes import free_port
from winnow.errors import UserError

# Answers health requests, starts a child that ignores SIGTERM, and writes both numbers down.
SERVER = """
import http.server, os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"],
    stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid}")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def launch_of(code: str, *arguments: str) -> Launch:
    port = free_port()
    command = [sys.executable, "-c", code, str(port), *arguments]
    return Launch(command, f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{port}/health", "toy", [])


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.process._PATIENCE", 1.0)


def test_the_whole_group_ends_even_a_child_that_ignores_sigterm(tmp_path: Path) -> None:
    launch = launch_of(SERVER, str(tmp_path / "pids"))
    with running(launch, timeout=60) as process:
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert pids[0] == process.pid and not any(map(gone, pids))
    deadline = time.monotonic() + 60
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(gone, pids))


def test_sigterm_stops_it_and_handlers_are_put_back(tmp_path: Path) -> None:
    launch, before = launch_of(SERVER, str(tmp_path / "pids")), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped), running(launch, timeout=60) as process:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        process.wait(timeout=30)
    assert process.poll() is not None and signal.getsignal(signal.SIGTERM) is before


def test_an_engine_that_ends_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="ended with code 3 before it served"),
        running(launch_of("raise SystemExit(3)"), timeout=60),
    ):
        pass


def test_an_engine_that_does_not_answer_is_stopped() -> None:
    launch = launch_of("import time; time.sleep(600)")
    with pytest.raises(UserError, match="does not answer"), running(launch, timeout=0.5):
        pass


def test_a_port_that_another_server_has_is_refused(tmp_path: Path) -> None:
    launch = launch_of(SERVER, str(tmp_path / "pids"))
    with (
        socket.create_server(("127.0.0.1", int(launch.url.split(":")[2].split("/")[0]))),
        pytest.raises(UserError, match="something listens there already"),
        running(launch, timeout=5),
    ):
        pass
    assert not (tmp_path / "pids").exists()
