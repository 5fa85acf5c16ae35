"""A real server: ``transformers serve`` answers as the checkpoint does on this machine."""

import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny import recipe_text

from evalsuite.runs.run import run_recipe
from tests.processes import free_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None,
    reason="`transformers serve` needs fastapi and uvicorn: pip install 'winnow-vlm[dev]'",
)
SERVE = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


@pytest.fixture(scope="module")
def address(tiny_vlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-c", SERVE, "serve", str(tiny_vlm), "--host", "127.0.0.1", "--port", str(port),
               "--device", "cpu", "--dtype", "float32"]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_transformers_serve_answers_like_the_checkpoint(
    tmp_path: Path, tiny_vlm: Path, tiny_task: Path, address: str
) -> None:
    tiny_task.write_text(
        tiny_task.read_text().replace("max_new_tokens: 6", "max_new_tokens: 12, stop: [t]")
    )  # no reference has a t
    local, served = tmp_path / "local.yaml", tmp_path / "served.yaml"
    local.write_text(recipe_text("local", tmp_path / "local", tiny_vlm, tiny_task))
    served.write_text(
        f"name: served\nout: {tmp_path / 'served'}\nserver: {{url: '{address}', model: {tiny_vlm}, send_stop: false}}\n"
        f"tasks: [{tiny_task}]\ncheck_batch: 4\n"
    )
    run_recipe(local)
    _, scores, _ = run_recipe(served)
    assert scores["batch_check"] == {"rows": 4, "failed": 0, "batch_size": 64, "differ": 0, "examples": []}
    rows = [pq.read_table(tmp_path / name / "predictions.parquet").to_pylist() for name in ("local", "served")]
    names = ("sample_id", "extracted", "status", "truncated", "input_tokens")
    answers = [[tuple(row[name] for name in names) for row in one] for one in rows]
    assert answers[0] == answers[1]
    assert len({row["raw"] for row in rows[0]}) > 5
    assert {row["truncated"] for row in rows[0]} == {True, False}, "some rows end at the stop text, some at the limit"
