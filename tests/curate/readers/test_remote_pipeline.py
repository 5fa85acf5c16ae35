"""A whole curation of images behind URLs: off, on, again, and killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.pipeline import run
from tests.curate.readers.faulty import IMAGES, FaultyServer
from tests.curate.sets import recipe, row, write_lines, write_recipe
from winnow.run import read_manifest

RULES = {"unreadable": {"when": "error IS NOT NULL", "action": "drop"}}
REMOTE = {"allow_private": True, "backoff": 0.01, "attempts": 2}


@pytest.fixture
def server():
    with FaultyServer() as running:
        yield running


def dropped(workspace):
    lines = map(json.loads, (workspace.folder / "ledger.jsonl").read_text().splitlines())
    return {line["sample_id"]: json.dumps(line["rules"]) for line in lines}


def kept(workspace):
    root = Path(read_manifest(workspace.folder, finish_with="")["image_root"])
    rows = map(json.loads, (workspace.folder / "samples.jsonl").read_text().splitlines())
    return {one["id"]: (root / one["image"]).read_bytes() for one in rows}


def test_off_on_and_again(tmp_path, server):
    paths = ["/ok/1.jpg", "/ok/2.jpg", "/status/404", "/page.jpg", "/500-always"]
    write_lines(tmp_path / "rows.jsonl", [row(number, server.url(path)) for number, path in enumerate(paths)])
    sources = [{"location": str(tmp_path / "rows.jsonl")}]
    off = run(recipe(tmp_path, sources=sources, rules=RULES), "r.yaml")
    assert not server.asked
    assert len(dropped(off.workspace)) == 5
    assert all("remote_off" in why for why in dropped(off.workspace).values())

    wanted = recipe(tmp_path, sources=sources, rules=RULES, remote=REMOTE)
    on = run(wanted, "r.yaml")
    assert kept(on.workspace) == {f"set/train/{n}": IMAGES[f"/ok/{n + 1}.jpg"] for n in (0, 1)}
    classes = {"set/train/2": "remote_404", "set/train/3": "remote_not_an_image", "set/train/4": "remote_unavailable"}
    assert all(kind in dropped(on.workspace)[name] for name, kind in classes.items())
    record = json.loads((on.workspace.folder / "samples.jsonl").read_text().splitlines()[0])
    assert record["meta"]["image_url"] == server.url("/ok/1.jpg")

    server.asked.clear()
    again = run(wanted, "r.yaml")  # one image was unavailable: only that one is asked for
    assert again.seconds and set(server.asked) == {"/500-always"}


def test_a_finished_run_asks_for_nothing(tmp_path, server):
    write_lines(tmp_path / "rows.jsonl", [row(1, server.url("/ok/1.jpg")), row(2, server.url("/status/404"))])
    sources = [{"location": str(tmp_path / "rows.jsonl")}]
    wanted = recipe(tmp_path, sources=sources, rules=RULES, remote=REMOTE)
    run(wanted, "r.yaml")
    server.asked.clear()
    assert run(wanted, "r.yaml").seconds == {}
    assert not server.asked


@pytest.mark.slow
def test_kill_9_and_the_next_run_fetches_what_is_missing(tmp_path, server):
    server.delay = 0.2
    write_lines(tmp_path / "rows.jsonl", [row(n, server.url(path)) for n, path in enumerate(IMAGES)])
    sources = [{"location": str(tmp_path / "rows.jsonl")}]
    path = write_recipe(tmp_path, sources=sources, rules=RULES, remote={**REMOTE, "concurrency": 2})
    command = [sys.executable, "-m", "curate", "run", str(path)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(command, cwd=Path.cwd(), **quiet)
    journal = tmp_path / "out" / "images" / "remote.jsonl"
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 6):
        assert running.poll() is None, "ended before it was killed"
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    fetched = journal.read_bytes().count(b"\n")
    assert not (tmp_path / "out" / "manifest.json").exists()
    server.asked.clear()
    subprocess.run(command, cwd=Path.cwd(), check=True, timeout=300, **quiet)
    assert sum(server.asked.values()) == len(IMAGES) - fetched
    workspace = run(recipe(tmp_path, sources=sources, rules=RULES, remote=REMOTE), "r.yaml").workspace
    assert list(kept(workspace).values()) == list(IMAGES.values())
    assert not list((tmp_path / "out").rglob("*.tmp"))
