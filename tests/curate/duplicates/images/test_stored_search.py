"""A search that goes on where an earlier one ended gives what one from the start gives, byte for byte."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.duplicates.images import matching
from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.duplicates.images.matching import search_matches
from curate.duplicates.images.stored import read_stored
from curate.duplicates.rows import find_duplicates
from curate.duplicates.splits import assign_splits
from curate.measure.store import image_schema
from curate.recipe import DuplicateSettings, MatchSettings, SplitSettings
from curate.workspace import Workspace
from tests.curate.duplicates.images.test_clusters import crowded_fingerprints
from tests.curate.stored import choose, image, sample, store


def first(fingerprints, count):
    return ImageFingerprints.of(
        fingerprints.phash[:count],
        fingerprints.dhash[:count],
        fingerprints.thumbnails[:count],
        fingerprints.sides[:count],
    )


def all_pairs(search, fingerprints, settings):
    """The pairs that a search holds, those of dense buckets written out."""
    pairs = {tuple(pair) for pair in search.near.tolist()}
    for hashes, dense_buckets in zip(fingerprints.hashes(settings), search.dense_buckets, strict=True):
        for left, right in dense_buckets:
            i, j = np.meshgrid(np.flatnonzero(hashes == left), np.flatnonzero(hashes == right))
            i, j = matching.confirmed(fingerprints, i.ravel(), j.ravel(), settings)
            pairs |= {(min(pair), max(pair)) for pair in zip(i.tolist(), j.tolist(), strict=True) if pair[0] != pair[1]}
    return pairs


@pytest.mark.parametrize("expanded", [1, 16, 256], ids="{} pairs".format)
@pytest.mark.parametrize("seed", range(6))
def test_in_steps_or_at_once(seed, expanded, monkeypatch):
    """Groups of equal hashes grow into dense buckets on the way when only few pairs may be expanded."""
    monkeypatch.setattr(matching, "_EXPANDED", expanded)
    settings = MatchSettings(radius=6)
    rng = np.random.default_rng(seed)
    fingerprints = crowded_fingerprints(120, seed)
    copies = rng.integers(0, 40, 120)  # many equal ones
    fingerprints = ImageFingerprints.of(
        fingerprints.phash[copies],
        fingerprints.dhash[copies],
        fingerprints.thumbnails[copies],
        fingerprints.sides[copies],
    )
    at_once = search_matches(fingerprints, settings)
    search = None
    for count in [*np.sort(rng.integers(0, 120, 3)).tolist(), 120]:
        search = search_matches(first(fingerprints, count), settings, search)
    expected = all_pairs(at_once, fingerprints, settings)
    assert all_pairs(search, fingerprints, settings) == expected
    assert len(expected) > 100


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
    return [path.read_bytes() for path in (space.duplicate_images, space.duplicate_rows, space.splits)]


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
    assert pq.read_metadata(fresh.duplicate_rows).num_rows > 20


def test_only_new_images_are_searched(tmp_path, monkeypatch):
    images = many_images(np.random.default_rng(9), 80)
    space = store(tmp_path, [sample(str(n), [one["image_key"]]) for n, one in enumerate(images)], images[:60])
    seen = []

    def watched(fingerprints, settings, earlier=None):
        seen.append((earlier and earlier.count, len(fingerprints.phash)))
        return search_matches(fingerprints, settings, earlier)

    monkeypatch.setattr("curate.duplicates.images.stored.search_matches", watched)
    outputs(space)
    assert seen == [(None, 60)], "duplicates and splits share one search"
    pq.write_table(pa.Table.from_pylist(images[60:], image_schema(None, {})), space.signals / "part-00001.parquet")
    outputs(space)
    outputs(space)
    assert seen == [(None, 60), (60, 80)]
    os.utime(space.image_parts()[0], (1, 1))
    outputs(space)
    assert seen[2:] == [(None, 80)], "an old part was rewritten"


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
