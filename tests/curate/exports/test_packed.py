"""Formats that hold the images: read back by the libraries that they are for."""

import hashlib
import json
import tarfile

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.exports import rows as target
from curate.exports.rows import Row
from tests.curate import sets
from tests.curate.exports.made import FITTING, UNFIT, exported, make
from winnow.errors import UserError
from winnow.rows.lines import read_jsonl

ALL = [*FITTING, *UNFIT]


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    return make(tmp_path_factory.mktemp("containers"))


def originals(curated):
    """Record and image bytes of every kept row."""
    for sample in read_jsonl(curated / "samples.jsonl"):
        yield sample, [(curated.parent / "images" / path).read_bytes() for path in sample.image]


def members(path):
    with tarfile.open(path) as tar:
        return [(one.name, tar.extractfile(one).read(), one) for one in tar]


def test_webdataset_members_are_the_rows(curated):
    folder, done = exported(curated, "webdataset")
    found = members(folder / "train-00000.tar")
    assert [name for name, _, _ in found[:6]] == [
        "000000000.png", "000000000.json", "000000001.jpg", "000000001.json", "000000002.0.png", "000000002.1.webp",
    ]  # fmt: skip
    by_key = {}
    for name, data, member in found:
        key, extension = name.split(".", 1)
        by_key.setdefault(key, {})[extension] = data
        assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)
    records = [json.loads(parts["json"]) for parts in by_key.values()]
    assert [record["id"] for record in records] == ALL
    kept = [json.loads(line) for line in (curated / "samples.jsonl").read_text().splitlines()]
    assert records == kept, "the record is that of the curated set"
    for (_, images), parts in zip(originals(curated), by_key.values(), strict=True):
        assert [parts[name] for name in sorted(parts) if name != "json"] == images
    assert done.counts["images"] == 10


def test_webdataset_reads_it(curated):
    webdataset = pytest.importorskip("webdataset")
    folder, _ = exported(curated, "webdataset")
    rows = list(webdataset.WebDataset(str(folder / "train-00000.tar"), shardshuffle=False).decode("pil"))
    assert [row["json"]["id"] for row in rows] == ALL
    assert rows[0]["png"].size == rows[2]["1.webp"].size == (64, 64)


def test_shards_are_bounded_and_the_same_bytes_again(tmp_path):
    """Random images of 270 kB; a shard of 1 MB holds three."""
    noise = [sets.row(100 + n, f"n{n}.png") for n in range(8)]
    for n in range(8):
        import numpy as np
        from PIL import Image

        pixels = np.random.default_rng(n).integers(0, 256, (300, 300, 3), dtype=np.uint8)
        sets.save(tmp_path / "images" / f"n{n}.png", Image.fromarray(pixels))
    out = make(tmp_path, noise)
    folder, _ = exported(out, "webdataset", shard_megabytes=1)
    shards = sorted(folder.glob("*.tar"))
    assert len(shards) > 2
    assert all(shard.stat().st_size <= 1_000_000 for shard in shards)
    ids = [json.loads(data)["id"] for shard in shards for name, data, _ in members(shard) if name.endswith("json")]
    assert ids == [*ALL, *(one["id"] for one in noise)]
    assert "train-{00000.." in (folder / "README.md").read_text()
    again, _ = exported(out, "webdataset", shard_megabytes=1, out=tmp_path / "again")
    assert [shard.read_bytes() for shard in shards] == [shard.read_bytes() for shard in sorted(again.glob("*.tar"))]
    parquet, _ = exported(out, "parquet", shard_megabytes=1)
    parts = sorted(parquet.glob("train-*.parquet"))
    assert len(parts) > 2
    assert [row["id"] for part in parts for row in pq.read_table(part).to_pylist()] == ids


@given(
    rows=st.lists(st.tuples(st.sampled_from(["train", "val"]), st.integers(0, 60)), max_size=60),
    limit=st.integers(1, 100),
    most=st.integers(1, 9),
)
def test_shards_keep_order_and_bounds(rows, limit, most):
    made = [Row(n, None, split, (), (size,), ()) for n, (split, size) in enumerate(rows)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(target, "MOST_ROWS", most)
        found = list(target.shards(made, limit, lambda row: row.sizes[0]))
    for split in ("train", "val"):
        parts = [shard for shard in found if shard.split == split]
        assert [shard.number for shard in parts] == list(range(len(parts)))
        assert [row for shard in parts for row in shard.rows] == [row for row in made if row.split == split]
        for shard, following in zip(parts, [*parts, None][1:], strict=True):
            size = sum(row.sizes[0] for row in shard.rows)
            assert 1 <= len(shard.rows) <= most
            assert size <= limit or len(shard.rows) == 1
            if following:
                assert len(shard.rows) == most or size + following.rows[0].sizes[0] > limit, "no shard is cut early"


@pytest.mark.parametrize("to", ["imagefolder", "parquet"])
def test_datasets_loads_images_and_every_column(curated, tmp_path, to):
    import datasets

    folder, _ = exported(curated, to)
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(to, data_dir=str(folder), split="train", cache_dir=cache)
    assert rows.features["images"] == datasets.List(datasets.Image())
    for row, (sample, images) in zip(rows, originals(curated), strict=True):
        assert row["id"] == sample.id
        assert len(row["images"]) == len(images)
        assert all(image.size == (64, 64) for image in row["images"])
        assert [(turn["role"], turn["content"], turn["loss"]) for turn in row["messages"]] == [
            (turn.name or turn.role, turn.value, turn.loss) for turn in sample.conversations
        ]
        assert row["answers"] == list(sample.answers)
        assert json.loads(row["meta"]) == dict(sample.meta)
    raw = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    if to == "parquet":
        given = [hashlib.sha256(one).hexdigest() for _, images in originals(curated) for one in images]
        assert [hashlib.sha256(one["bytes"]).hexdigest() for row in raw for one in row["images"]] == given


def test_an_image_that_changed_since_is_refused(tmp_path):
    out = make(tmp_path)
    picture = tmp_path / "images/c.webp"
    sets.save(picture, sets.scene(99))
    with pytest.raises(UserError, match=r"c\.webp: has changed since it was measured; run the curation again"):
        exported(out, "webdataset")
    assert not (out / "exports/webdataset").exists()
    picture.unlink()
    with pytest.raises(UserError, match=r"c\.webp: was measured and is now missing"):
        exported(out, "ms-swift")


def test_a_kept_row_without_a_readable_image_is_rejected(tmp_path):
    out = make(tmp_path, [sets.row(200, "gone.png")], rules={})
    folder, done = exported(out, "imagefolder")
    (rejected,) = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    assert rejected == {"sample_id": "set/train/200", "reason": "its image gone.png could not be read"}
    assert done.counts["rejected"] == 1
