"""`evalsuite run` against a server of a tiny model; the command or the server is killed.

A server that was killed is started again. Questions that it did not answer in time are asked by the next run.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.kills import Work, files_below, timeless
from tests.chaos.training import killed
from tests.evalsuite.tiny import build_data, build_model, task_text
from tests.forks import python
from tests.processes import free_port

_SERVE = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


class Server:
    """`transformers serve` with the tiny model, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._model = folder, build_model(folder / "model")
        self._port = free_port()
        self.start()

    @property
    def settings(self) -> dict[str, Any]:
        """For a recipe."""
        return {"url": f"http://127.0.0.1:{self._port}/v1", "model": str(self._model), "send_stop": False}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--device", "cpu", "--dtype", "float32"]
        with (self._folder / "server.log").open("wb") as log:
            command = python("-c", _SERVE, "serve", str(self._model), *where)
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text(errors="replace")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it; it is gone when this returns."""
        killed(self._process)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def evaluation(folder: Path) -> Iterator[Work]:
    """31 questions of one task; the server's files lie in ``folder``."""
    server = Server(folder)

    def make(place: Path) -> None:
        place.mkdir(exist_ok=True)
        data = build_data(place / "data").relative_to(place)
        (place / "tiny.yaml").write_text(task_text(data))
        settings = json.dumps({**server.settings, "max_concurrency": 2})
        (place / "recipe.yaml").write_text(f"name: served\nout: out\nserver: {settings}\ntasks: [tiny.yaml]\n")

    def server_dies(_: subprocess.Popen[bytes]) -> bool:
        server.kill()
        server.start()
        return True

    command = python("-m", "evalsuite", "run", "recipe.yaml")
    try:
        yield Work(
            make, lambda: command, _outputs, {"command": killed, "model server": server_dies}, is_whole=_is_whole,
            victim_is_gone="start the server, or correct `server.url`",
        )  # fmt: skip
    finally:
        server.kill()


def _outputs(folder: Path) -> dict[str, Any]:
    """Predictions, scores and reports byte by byte; the manifest without times."""
    out = folder / "out"
    found = files_below(out, ["manifest.json", "timings.parquet"])
    return {**found, "manifest.json": timeless(_manifest(folder), ["seconds", "timings.parquet", "git_commit"])}


def _is_whole(folder: Path) -> bool:
    return not _manifest(folder)["ask_again"]


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "out" / "manifest.json").read_text())
    return manifest
