"""A storage that fails says nothing about an image: it is tried again, told, and not stored as a fact."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import curate.measure.row
from curate.engines.worker import Unreachable
from curate.measure.image_models import measure_with
from curate.measure.images import measure_images
from curate.measure.unmeasured import why_not_measured
from curate.settings.signals import MeasureSettings
from tests.curate import sets
from tests.curate.make_images import noise, write
from tests.curate.measure.test_image_models import MODEL, brightness, measured, rows

ONE = MeasureSettings(workers=1, shard_size=4)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("curate.engines.worker._BASE", 0.001)


@pytest.fixture
def root(tmp_path):
    for number in range(9):
        write(tmp_path / "root" / f"{number}.png", noise(20 + number, 20, number))
    return tmp_path / "root"


@pytest.fixture
def failing(monkeypatch):
    """A function after whose call the reads of one file fail."""
    original = Path.read_bytes

    def set_error(name, *error):
        def read(path):
            if error and path.name == name:
                raise OSError(*error)
            return original(path)

        monkeypatch.setattr(Path, "read_bytes", read)

    return set_error


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ENOMEM, errno.EMFILE, errno.EHOSTDOWN]
)
def test_a_read_that_the_storage_fails_is_no_fact(root, tmp_path, failing, number):
    paths, out = [f"{number}.png" for number in range(9)], tmp_path / "out"
    failing("3.png", number, os.strerror(number))
    report = measure_images(paths, root, out, ONE)
    assert (report.errors, report.images) == ({"not_measured": 1}, 8)
    failing("3.png")
    again = measure_images(paths, root, out, ONE)
    assert (again.errors, again.images, again.known) == ({}, 1, 8)


def test_an_object_stores_error_has_no_number(root, tmp_path, failing):
    failing("3.png", "AWS Error NETWORK_CONNECTION during GetObject")
    assert measure_images(["3.png"], root, tmp_path / "out", ONE).errors == {"not_measured": 1}
    (row,) = pq.read_table(tmp_path / "out" / "paths.parquet").to_pylist()
    assert "AWS Error NETWORK_CONNECTION" in row["error_detail"]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP])
def test_a_file_that_is_not_there_or_closed_to_us_is_missing(root, tmp_path, failing, number):
    failing("3.png", number, os.strerror(number))
    assert measure_images(["3.png"], root, tmp_path / "out", ONE).errors == {"missing": 1}


def test_a_folder_that_cannot_be_looked_into_is_no_missing_image(root, tmp_path, monkeypatch):
    original = os.lstat

    def stale(path, **more):
        if str(path).endswith("3.png"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return original(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", stale)
        assert measure_images(["3.png", "4.png"], root, tmp_path / "out", ONE).errors == {"not_measured": 1}
    assert measure_images(["3.png", "4.png"], root, tmp_path / "out", ONE).errors == {}


def test_a_copy_of_an_image_whose_path_was_lost_is_measured(root, tmp_path, monkeypatch):
    """The first path has claimed the bytes and is lost while it decodes them: the second one has to bring them."""
    write(root / "copy.png", (root / "3.png").read_bytes())
    original = curate.measure.row._measure

    def lost(plan, file, data):
        if file.path == "3.png":
            raise Unreachable("no memory")
        return original(plan, file, data)

    monkeypatch.setattr(curate.measure.row, "_measure", lost)
    report = measure_images(["3.png", "copy.png", "4.png"], root, tmp_path / "out", ONE)
    assert (report.images, report.errors) == (2, {"not_measured": 1})
    (part,) = (tmp_path / "out").glob("part-*.parquet")
    assert pq.read_table(part)["path"].to_pylist() == ["copy.png", "4.png"]


def no_memory(image):
    if image.width == 23:
        raise RuntimeError("[ONNXRuntimeError] : bad_alloc: Failed to allocate memory for requested buffer")
    return brightness(image)


def test_a_model_without_memory_has_not_failed_on_an_image(root, tmp_path):
    space = measured(tmp_path / "set", root)
    measure_with(replace(MODEL, name="faces", read=no_memory), space, root, ONE)
    assert "faces" in str(space.model_folder("faces")) and not space.model_failures("faces").exists()
    assert "not measured: 1 image (the first: 3.png, " in why_not_measured([space])
    measure_with(replace(MODEL, name="faces"), space, root, ONE)
    assert why_not_measured([space]) is None and not rows(space)  # of "toy": another model


FAILS = """
import os, pathlib
read = pathlib.Path.read_bytes
def failing(path):
    if path.name == os.environ.get("FAILS_ON"):
        raise OSError(5, "Input/output error")
    return read(path)
pathlib.Path.read_bytes = failing
"""


@pytest.mark.slow
def test_the_command_says_what_it_could_not_measure_and_does_it_the_next_time(tmp_path):
    for number in range(6):
        sets.save(tmp_path / "images" / f"{number}.jpg", sets.scene(number))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(number, f"{number}.jpg") for number in range(6)])
    rules = {"unreadable": {"when": "error IS NOT NULL", "action": "drop"}}
    sets.write_recipe(
        tmp_path, out="out", sources=[{"location": "rows.jsonl", "image_root": "images"}], signals={"workers": 1},
        rules=rules,
    )  # fmt: skip
    site = "import curate.engines.worker as worker\nworker._BASE = 0.001\n" + FAILS
    write(tmp_path / "site" / "sitecustomize.py", site.encode())

    def run(**environment):
        path = os.pathsep.join((str(tmp_path / "site"), str(Path(__file__).parents[3])))
        return subprocess.run(
            [sys.executable, "-m", "curate", "run", "recipe.yaml"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True,
        )  # fmt: skip

    for _ in range(2):  # the second time it does not call this up to date
        done = run(FAILS_ON="3.jpg")
        assert done.returncode == 3, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("not measured: 1 image (the first: 3.jpg, 3.jpg: Input/output error)"), done.stderr
        (line,) = map(json.loads, (tmp_path / "out" / "ledger.jsonl").read_text().splitlines())
        assert line["image"] == "3.jpg" and "not_measured" in str(line["rules"])
        assert "not_measured" in (tmp_path / "out" / "README.md").read_text()
    done = run()
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out" / "samples.jsonl").read_text().splitlines()) == 6
    assert "up to date" in run().stdout
