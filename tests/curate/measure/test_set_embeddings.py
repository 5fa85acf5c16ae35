"""The packaged network, and the embeddings of a set by image number."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.measure.set_embeddings import read_embeddings
from curate.measure.store import image_schema
from curate.pipeline import run
from curate.signals import IMAGE_MODELS
from curate.signals.efficientnet import embed
from curate.workspace import Workspace
from tests.curate.sets import recipe, row, save, scene, write_lines


def test_the_network_knows_what_a_picture_shows():
    data = pytest.importorskip("skimage.data")
    cat = Image.fromarray(data.chelsea())
    found = [
        embed(image)["embedding"].astype(float)
        for image in (cat, cat.resize((200, 150)), Image.fromarray(data.coffee()))
    ]
    assert [value.shape for value in found] == [(1280,)] * 3
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=1e-3)
    assert found[0] @ found[1] > 0.9
    assert found[0] @ found[2] < 0.4


def test_a_run_stores_embeddings_once_by_image_number(tmp_path):
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", scene(number))
    save(tmp_path / "images" / "3.png", scene(1))  # the same bytes as 1.png
    (tmp_path / "images" / "4.png").write_bytes(b"no image")
    write_lines(tmp_path / "rows.jsonl", [row(number, f"{number}.png") for number in range(5)])
    made = recipe(tmp_path, signals={"workers": 1, "embedding": "efficientnet-lite0"})
    space = run(made, "recipe.yaml").workspace
    found = read_embeddings(space)
    assert found.model == "embedding"
    keys = pa.concat_tables([pq.read_table(part) for part in space.image_parts()])["image_key"].to_pylist()
    assert len(found.row) == len(keys)
    stored = {
        one["image_key"]: one["embedding"]
        for part in space.model_parts()
        for one in pq.read_table(part).to_pylist()
    }  # fmt: skip
    assert len(stored) == len(found.numbers) == 3
    for number in found.numbers:
        assert np.array_equal(found.of(np.array([number]))[0], np.asarray(stored[keys[number]], np.float32))
    assert json.loads(space.manifest.read_text())["recipe"]["signals"]["embedding"] == "efficientnet-lite0"


def part(space, number, keys, width=None):
    """A part of image signals; keys in capitals have no embedding."""
    space.signals.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "image_key": key,
            "clip_embedding": None if key.isupper() or not width else np.full(width, ord(key), np.float16),
        }
        for key in keys
    ]
    pq.write_table(pa.Table.from_pylist(rows, image_schema(width, {})), space.signals / f"part-{number:05d}.parquet")


def test_only_new_parts_are_read_and_a_longer_file_is_cut(tmp_path):
    space = Workspace(tmp_path)
    space.work.mkdir()
    assert read_embeddings(space) is None
    part(space, 0, "aBc", 3)
    part(space, 1, "XY")  # a part without any embedding has another type
    assert read_embeddings(space).row.tolist() == [0, -1, 2, -1, -1]
    values = space.work / "embeddings" / "clip" / "values.f16"
    values.write_bytes(values.read_bytes() + b"half")  # as a killed run leaves it
    part(space, 2, "d", 3)
    found = read_embeddings(space)
    assert found.row.tolist() == [0, -1, 2, -1, -1, 5]
    assert found.of(found.numbers)[:, 0].tolist() == [ord(key) for key in "acd"]
    part(space, 1, "Xy", 3)
    found = read_embeddings(space)
    assert found.of(found.numbers)[:, 0].tolist() == [ord(key) for key in "acyd"]


def test_clip_goes_first_and_a_failed_image_may_come_twice(tmp_path):
    space, model = Workspace(tmp_path), IMAGE_MODELS["embedding"]
    space.work.mkdir()
    part(space, 0, "abc")
    folder = space.model_folder("embedding")
    folder.mkdir()
    for number, (key, value) in enumerate([("b", None), ("c", 1), ("b", 2)]):
        embedding = None if value is None else np.full(1280, value, np.float16)
        table = pa.Table.from_pylist([{"image_key": key, "embedding": embedding}], model.schema)
        pq.write_table(table, folder / f"part-{number:05d}.parquet")
    found = read_embeddings(space)
    assert (found.model, found.row.tolist()) == ("embedding", [-1, 2, 1])
    part(space, 0, "abc", 3)
    assert read_embeddings(space).model == "clip"
