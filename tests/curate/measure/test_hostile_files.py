import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate.measure.images import measure_images
from curate.settings.signals import MeasureSettings
from tests.curate.hostile import FORMATS, bombs, mutated, seeds
from tests.curate.make_images import noise, write
from winnow.media.images import CLASSES, decode

EACH = 1000


@pytest.mark.parametrize("format", FORMATS)
def test_each_mutated_file_is_one_row_with_a_class_or_a_image(tmp_path, format):
    chance, files = random.Random(format), seeds()[format]
    paths = [f"{number}.{format.lower()}" for number in range(EACH)]
    for path in paths:
        write(tmp_path / "root" / path, mutated(chance.choice(files), chance))
    settings = MeasureSettings(workers=1, max_pixels=1_000_000)
    report = measure_images(paths, tmp_path / "root", tmp_path / "out", settings)
    rows = pq.read_table(tmp_path / "out" / "paths.parquet").to_pylist()
    assert [row["path"] for row in rows] == paths
    classes = Counter(row["error"] for row in rows)
    assert set(classes) <= {None, *CLASSES}
    assert classes[None] > EACH / 50 and classes["truncated"] > EACH / 50, classes  # both fates were put to the test
    images = {row["image_key"]: row for row in pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()}
    for row in rows:
        decoded = row["error"] in (None, "animated", "wrong_extension")
        assert decoded == (images[row["image_key"]]["phash"] is not None), row
    assert report.paths == EACH


MEMORY = """
import json, resource, sys
from winnow.media.images import decode
from tests.curate.hostile import bombs
from tests.curate.make_images import encoded, noise
decode(encoded(noise(), "WEBP"), max_bytes=10**6, max_pixels=80_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {name: decode(data, max_bytes=10**6, max_pixels=80_000_000)[1].error for name, data in bombs()}
print(json.dumps([found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def test_bombs_are_refused_by_the_cap_and_take_no_memory():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, check=True, cwd=Path(__file__).parents[3]
    )
    found, kilobytes = json.loads(done.stdout)
    # The simple WebP holds its size twice; a decoder that finds them unlike calls it damaged.
    assert {name for name, error in found.items() if error != "too_large_pixels"} <= {"WEBP simple"}, found
    assert set(found.values()) <= {"too_large_pixels", "truncated"}
    assert kilobytes < 30_000  # a single one would take 768 MB


def test_bombs_within_the_cap_are_damaged_files():
    for name, data in bombs(900):
        assert decode(data, max_bytes=10**6, max_pixels=10**6)[1].error in ("truncated", "animated", None), name


CRASH = """
import os, signal
if os.environ.get("CRASH_ON"):
    from PIL import ImageFile
    loading = ImageFile.ImageFile.load
    def load(self):
        if self.size == (13, 13):
            os.kill(os.getpid(), getattr(signal, os.environ["CRASH_ON"]))
        return loading(self)
    ImageFile.ImageFile.load = load
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Forty images of which 7.png sends its process the signal ``CRASH_ON``; gives a function that measures them."""
    for number in range(40):
        write(tmp_path / "root" / f"{number}.png", noise(13, 13) if number == 7 else noise(20, 20, number))
    write(tmp_path / "site" / "sitecustomize.py", CRASH.encode())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    monkeypatch.setattr("curate.engines.worker._BASE", 0.01)
    monkeypatch.setattr("curate.engines.worker.TRIES", 2)  # each starts a process
    paths, out = [f"{number}.png" for number in range(40)], tmp_path / "out"

    def measured():
        report = measure_images(paths, tmp_path / "root", out, MeasureSettings(workers=2))
        faulty = pq.read_table(out / "paths.parquet", filters=[("error", "!=", "")]).to_pylist()
        rows = [row for part in sorted(out.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]
        return report, faulty, rows

    return measured


@pytest.mark.slow
@pytest.mark.parametrize("death", ["SIGSEGV", "SIGABRT"])
def test_an_image_that_crashes_its_worker_costs_itself(deadly, monkeypatch, death):
    monkeypatch.setenv("CRASH_ON", death)
    report, (row,), images = deadly()
    assert report.errors == {"truncated": 1} and row["path"] == "7.png"
    (dead,) = (one for one in images if one["phash"] is None)
    assert len(images) == 40 and "crashed" in dead["error_detail"] and len(dead["image_key"]) == 64


@pytest.mark.slow
@pytest.mark.parametrize("death", ["SIGKILL", "SIGTERM"])
def test_a_worker_that_is_killed_from_outside_says_nothing_of_its_image(deadly, tmp_path, monkeypatch, death):
    monkeypatch.setenv("CRASH_ON", death)
    for _ in range(2):
        report, (row,), images = deadly()
        assert report.errors == {"not_measured": 1} and len(images) == 39
        assert (row["path"], row["image_key"]) == ("7.png", None) and death in row["error_detail"]
        assert json.loads((tmp_path / "out" / "not_measured.json").read_text())["images"] == 1
    monkeypatch.delenv("CRASH_ON")
    report, faulty, images = deadly()
    assert (report.errors, report.images, faulty, len(images)) == ({}, 1, [], 40)
    assert not (tmp_path / "out" / "not_measured.json").exists()
