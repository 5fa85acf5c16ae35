"""`curate run` killed with SIGKILL twenty times at random moments ends with the bytes of an undisturbed run."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.curate import sets

KILLS = 20


def make(folder: Path) -> None:
    """150 rows about 90 images, among them copies, damaged and missing ones, and an evaluation set of nine."""
    for number in range(90):
        sets.save(folder / "images" / f"{number}.jpg", sets.scene(number % 80, side=160), quality=60 + number // 3)
    (folder / "images" / "5.jpg").write_bytes(b"no image")
    rows = [
        sets.row(number, f"{number % 95}.jpg", f"What is it{'!' * (number % 3)}", f"number {number % 7}")
        for number in range(150)
    ]
    sets.write_lines(folder / "rows.jsonl", [*rows, "this is no JSON"])
    held = [sets.row(number, f"{10 * number}.jpg", source="held") for number in range(9)]
    sets.write_lines(folder / "held.jsonl", held)
    sets.write_recipe(
        Path(folder),
        out="out",
        sources=[{"location": "rows.jsonl", "image_root": "images"}],
        signals={"workers": 2, "shard_size": 8},
        duplicates={},
        contamination={"against": [{"location": "held.jsonl", "image_root": "images", "source": "held"}]},
    )


def start(folder: Path) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "curate", "run", "recipe.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **quiet)


def outputs(folder: Path) -> dict[str, str]:
    """Digest of every file of the result; of the manifest without its times."""
    out = folder / "out"
    found = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not {"work", ".cache"} & {*path.relative_to(out).parts} and path.name != "manifest.json"
    }
    manifest = json.loads((out / "manifest.json").read_text())
    return {**found, "counts": manifest["counts"], "outputs": manifest["outputs"], "inputs": manifest["inputs"]}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_twenty_times_at_random_moments_the_bytes_are_the_same(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    make(undisturbed)
    begun = time.monotonic()
    assert start(undisturbed).wait() == 0
    seconds, expected = time.monotonic() - begun, outputs(undisturbed)
    make(killed)
    chance, kills, ends = random.Random(0), 0, 0
    while kills < KILLS:
        process = start(killed)
        try:
            # Later moments more often: the first half second is Python importing.
            process.wait(timeout=seconds * chance.uniform(0.1, 0.8))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            if process.wait() == -signal.SIGKILL:  # else it had ended just before
                kills += 1
                continue
        assert process.returncode == 0
        assert outputs(killed) == expected
        shutil.rmtree(killed / "out")
        ends += 1
    assert start(killed).wait() == 0
    assert outputs(killed) == expected
    assert not list((killed / "out").rglob("*.tmp"))
    print(f"{kills} kills, {ends} runs that ended between them, {seconds:.1f} s undisturbed")
