import hashlib
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate.measure.image_models
from curate.measure.image_models import forget, measure_with
from curate.measure.images import measure_images
from curate.settings.signals import MeasureSettings
from curate.signals.base import ImageModel, ModelUnavailable
from curate.workspace import Workspace
from tests.curate.make_images import encoded, noise, write
from tests.curate.one_part import put
from winnow.errors import UserError

IMAGES = 20


def brightness(image):
    return {"brightness": float(np.asarray(image).mean()), "sides": list(image.size)}


def not_red(image):
    """Fails on a picture that is red."""
    if image.getpixel((0, 0)) == (255, 0, 0):
        raise ValueError("it is \x1b[31mred")
    return brightness(image)


def dies_of_red(image):
    if image.getpixel((0, 0)) == (255, 0, 0):
        os.kill(os.getpid(), signal.SIGSEGV)
    return brightness(image)


def refuses(image):
    raise ModelUnavailable("no weights")


MODEL = ImageModel(
    name="toy",
    version=[1, "weights"],
    columns={"brightness": "0–255: mean level", "sides": "pixels: width and height"},
    types={"brightness": pa.float64(), "sides": pa.list_(pa.int32())},
    read=brightness,
    check=lambda: None,
)
RED = encoded(Image.new("RGB", (40, 40), (255, 0, 0)))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(curate.measure.image_models, "_IMAGES_A_PART", 6)


@pytest.fixture
def root(tmp_path):
    """Different images, one of them under two names, and one that does not decode."""
    for number in range(IMAGES):
        write(tmp_path / "root" / f"{number}.png", noise(20 + number, 20, number))
    write(tmp_path / "root" / "copy.png", (tmp_path / "root" / "3.png").read_bytes())
    write(tmp_path / "root" / "cut.png", encoded(noise(40, 40))[:900])
    return tmp_path / "root"


def measured(folder, root, paths=None):
    """A workspace whose rows name the images, measured by the decode pass."""
    space = Workspace(folder)
    paths = sorted(path.name for path in root.iterdir()) if paths is None else paths
    space.work.mkdir(parents=True, exist_ok=True)
    put(space.rows, pa.table({"images": [[path] for path in [*paths, "none.png"]]}))
    measure_images(paths, root, space.signals, MeasureSettings(workers=1, shard_size=8))
    return space


def parts(space, name="toy"):
    return sorted(space.model_folder(name).glob("part-*.parquet"))


def rows(space):
    return [row for part in parts(space) for row in pq.read_table(part).to_pylist()]


def digests(space):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in space.model_folder("toy").iterdir()}


def read(space, root, model=MODEL, **settings):
    measure_with(model, space, root, MeasureSettings(**{"workers": 1, **settings}))


def test_every_image_that_decodes_is_read_once_by_key(root, tmp_path):
    space = measured(tmp_path / "set", root)
    read(space, root)
    found = rows(space)
    keys = {hashlib.sha256((root / f"{number}.png").read_bytes()).hexdigest() for number in range(IMAGES)}
    assert [row["image_key"] for row in found] == sorted(keys)
    assert [pq.read_metadata(part).num_rows for part in parts(space)] == [6, 6, 6, 2]
    key = hashlib.sha256((root / "7.png").read_bytes()).hexdigest()
    (seven,) = [row for row in found if row["image_key"] == key]
    assert seven["brightness"] == pytest.approx(np.asarray(noise(27, 20, 7)).mean()) and seven["sides"] == [27, 20]
    assert not space.model_failures("toy").exists()


def test_a_second_run_reads_nothing_and_a_new_image_alone_is_read(root, tmp_path, monkeypatch):
    space = measured(tmp_path / "set", root)
    read(space, root)
    before = digests(space)
    read(space, root, replace(MODEL, read=refuses, check=refuses))  # neither is called
    assert digests(space) == before
    write(root / "new.png", noise(50, 50, 99))
    measured(tmp_path / "set", root)
    read(space, root)
    after = digests(space)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 1
    assert rows(space)[-1]["sides"] == [50, 50]


def test_images_that_no_row_names_are_not_read(root, tmp_path):
    space = measured(tmp_path / "set", root)
    measured(tmp_path / "set", root, ["1.png", "2.png"])  # the other paths stay stored
    read(space, root)
    assert sorted(row["sides"][0] for row in rows(space)) == [21, 22]


@pytest.mark.slow
def test_the_bytes_are_the_same_for_any_number_of_workers(root, tmp_path):
    write(root / "red.png", RED)
    spaces = [measured(tmp_path / f"{workers}", root) for workers in (1, 2)]
    for workers, space in enumerate(spaces, start=1):
        read(space, root, replace(MODEL, read=not_red), workers=workers)
    assert digests(spaces[0]) == digests(spaces[1]) and len(digests(spaces[0])) == 5


@pytest.mark.parametrize("whole_parts", range(5))
def test_killed_after_any_part_it_ends_with_the_same_bytes(root, tmp_path, monkeypatch, whole_parts):
    write(root / "red.png", RED)
    model = replace(MODEL, read=not_red)
    space, killed = measured(tmp_path / "whole", root), measured(tmp_path / "killed", root)
    read(space, root, model)
    original = curate.measure.image_models.write_parquet

    def write_or_die(path, *more):
        if len(parts(killed)) == whole_parts:
            raise KeyboardInterrupt
        original(path, *more)

    monkeypatch.setattr(curate.measure.image_models, "write_parquet", write_or_die)
    if whole_parts < 4:
        with pytest.raises(KeyboardInterrupt):
            read(killed, root, model)
    monkeypatch.setattr(curate.measure.image_models, "write_parquet", original)
    read(killed, root, model)
    assert digests(killed) == digests(space)


def test_parts_of_another_version_are_made_again(root, tmp_path):
    space = measured(tmp_path / "set", root)
    read(space, root)
    calls = []
    read(space, root, replace(MODEL, version=[2, "weights"], read=lambda image: calls.append(1) or brightness(image)))
    assert len(calls) == len(rows(space)) == IMAGES
    forget(MODEL, space)
    assert not space.model_folder("toy").exists()


def test_a_failed_image_is_no_fact_and_is_tried_again(root, tmp_path, capsys):
    write(root / "red.png", RED)
    space = measured(tmp_path / "set", root)
    for _ in range(2):
        read(space, root, replace(MODEL, read=not_red))
        assert len(rows(space)) == IMAGES
        assert json.loads(space.model_failures("toy").read_text()) == {
            "images": 1, "first": [{"path": "red.png", "failed": "ValueError: it is \\x1b[31mred"}],
        }  # fmt: skip
        assert "toy: not read: 1 image (the first: red.png, ValueError: it is \\x1b[31mred)" in capsys.readouterr().err
    read(space, root)
    assert len(rows(space)) == IMAGES + 1 and not space.model_failures("toy").exists()


def test_a_file_that_has_changed_or_gone_fails(root, tmp_path):
    space = measured(tmp_path / "set", root)
    (root / "5.png").unlink()
    write(root / "6.png", noise(77, 20))
    read(space, root)
    failed = json.loads(space.model_failures("toy").read_text())
    assert failed["images"] == 2 and {one["failed"][:17] for one in failed["first"]} == {
        "its file has chan", "FileNotFoundError",
    }  # fmt: skip
    assert len(rows(space)) == IMAGES - 2


@pytest.mark.slow
def test_an_image_that_kills_its_process_costs_itself(root, tmp_path):
    write(root / "red.png", RED)
    space = measured(tmp_path / "set", root)
    read(space, root, replace(MODEL, read=dies_of_red), workers=2)
    assert len(rows(space)) == IMAGES
    (failure,) = json.loads(space.model_failures("toy").read_text())["first"]
    assert failure["path"] == "red.png" and "crashed" in failure["failed"]


def test_a_model_that_cannot_be_had_ends_the_run(root, tmp_path):
    space = measured(tmp_path / "set", root)
    for model in (replace(MODEL, check=lambda: refuses(None)), replace(MODEL, read=refuses)):
        with pytest.raises(UserError, match="no weights"):
            read(space, root, model)
    space.model_folder("toy").mkdir(exist_ok=True)
    (space.model_folder("toy") / "part-00000.parquet").write_bytes(b"cut off")
    with pytest.raises(UserError, match="delete it to measure again"):
        read(space, root)


def test_a_set_without_images_has_no_table(tmp_path):
    (tmp_path / "root").mkdir()
    space = measured(tmp_path / "set", tmp_path / "root")
    read(space, tmp_path / "root")
    assert parts(space) == []
