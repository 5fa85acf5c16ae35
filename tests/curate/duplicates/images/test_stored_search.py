"""A search that goes on where an earlier one ended gives what one from the start gives, byte for byte."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.duplicates.images import matching
from curate.duplicates.images.stored import read_stored
from curate.duplicates.rows import find_duplicates
from curate.duplicates.splits import assign_splits
from curate.measure.store import image_schema
from curate.settings.copies import DuplicateSettings, MatchSettings
from curate.settings.outputs import SplitSettings
from curate.workspace import Workspace
from tests.curate.duplicates.images.test_clusters import crowded_fingerprints
from tests.curate.stored import choose, image, repeated, sample, store


def write_parts(space: Workspace, images, cuts):
    """The images as parts that end at ``cuts``."""
    for part in space.image_parts():
        part.unlink()
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(images)], strict=True)):
        path = space.signals / f"part-{number:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(images[start:end], image_schema(None, {})), path)


def outputs(space):
    find_duplicates(space, DuplicateSettings())
    choose(space, DuplicateSettings())
    assign_splits(space, SplitSettings(shares={"train": 0.5, "val": 0.5}), MatchSettings())
    return [space.duplicate_images.read_bytes(), repeated(space), space.splits.read_bytes()]


def many_images(rng, count):
    fingerprints = crowded_fingerprints(count, int(rng.integers(1000)))
    copies = np.where(rng.random(count) < 0.4, rng.integers(0, count // 8, count), np.arange(count))
    made = []
    for number, at in enumerate(copies.tolist()):
        values = {
            "phash": int(fingerprints.phash[at]),
            "dhash": int(fingerprints.dhash[at]),
            "width": int(fingerprints.sides[at]),
        }
        made.append(
            image(f"k{rng.integers(10**9):09d}-{number}", **values, thumbnail=fingerprints.thumbnails[at].tobytes())
        )
    made[3] = image("unreadable", error="truncated", phash=None, dhash=None, thumbnail=None)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_images_are_added_and_taken_away(tmp_path, seed, monkeypatch):
    """A curation that has grown and shrunk against one that starts with what is left."""
    monkeypatch.setattr(matching, "_EXPANDED", 16)
    rng = np.random.default_rng(seed)
    images = many_images(rng, 160)

    def rows(shown):
        return [sample(f"{n:03d}", [images[k]["image_key"]], f"q{k % 2}", f"a{n % 3}") for n, k in enumerate(shown)]

    last = rng.choice(160, 140, replace=False)  # the others are measured, but no row shows them any more
    old = Workspace(tmp_path / "grown")
    for count in (50, 130, 160):
        shown = rng.integers(0, count, 100) if count < 160 else last
        store(old.folder, rows(shown), [*images[:count]])
        write_parts(old, images[:count], [cut for cut in (50, 130) if cut < count])
        for part, when in zip(old.image_parts(), (1, 2, 3), strict=False):
            os.utime(part, (when, when))  # as they are not written again
        grown = outputs(old)
    searched = read_stored(old)
    assert len(searched.fingerprints) == 160
    fresh = store(tmp_path / "fresh", rows(last), [images[k] for k in rng.permutation(160)])
    assert outputs(fresh) == grown
    assert len(repeated(fresh)) > 20


def test_files_that_a_killed_run_left_longer_are_cut(tmp_path):
    images = many_images(np.random.default_rng(2), 40)
    space = store(tmp_path, [sample(str(n), [one["image_key"]]) for n, one in enumerate(images)], images)
    whole = outputs(space)
    for name in ("facts.bin", "thumbnails.bin"):
        with (space.work / "fingerprints" / name).open("ab") as handle:
            handle.write(b"half an image")
    pq.write_table(pa.Table.from_pylist([image("z")], image_schema(None, {})), space.signals / "part-00001.parquet")
    assert outputs(space) == whole
    assert len(read_stored(space).fingerprints) == 41
