"""Splits: no image on both sides, shares as asked, and a row keeps its place when others come."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import pipeline
from curate.duplicates.images.clusters import connected_components
from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.duplicates.images.matching import DuplicateIndex
from curate.duplicates.splits import assign_splits, upper_bounds
from curate.recipe import CurateRecipe
from curate.settings.copies import MatchSettings
from curate.settings.outputs import SplitSettings
from tests.curate import sets
from tests.curate.stored import image, sample, store
from winnow.errors import UserError

HALVES = SplitSettings.model_validate({"train": 0.5, "val": 0.5, "seed": 1})


def assigned(space, split=HALVES, match=None):
    assign_splits(space, split, match or MatchSettings())
    rows = pq.read_table(space.splits).to_pylist()
    return {row["position"]: (row["split_group"], row["assigned_split"]) for row in rows}


def naive_place(seed, group):
    """The place in 0-1 of a group, by Python alone."""
    return int(hashlib.md5(f"{seed}:{group}".encode()).hexdigest()[:13], 16) / 16**13


def many(folder, rows, images):
    return store(folder, [sample(f"{n:05d}", keys) for n, keys in enumerate(rows)], images)


def alike(keys, value):
    """Images that are all near-identical: one hash, one thumbnail."""
    return [image(key, phash=value, dhash=value, thumbnail=bytes([value % 256]) * 768) for key in keys]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 11), max_size=3), min_size=1, max_size=25),
    fingerprints=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    seed=st.integers(0, 5),
)
def test_linked_rows_are_never_parted(tmp_path_factory, rows, fingerprints, seed):
    """Against a naive closure: rows are linked by an image, by images of the same look, and by the rows between."""
    folder = tmp_path_factory.mktemp("splits")
    images = [alike([f"k{n:02d}"], (look + 1) * 0x0F0F0F0F0F0F0F0F % 2**64)[0] for n, look in enumerate(fingerprints)]
    keys = [[f"k{n:02d}" for n in row] for row in rows]
    space = store(folder, [sample(f"{n:05d}", row, question=f"q{n % 4}") for n, row in enumerate(keys)], images)
    found = assigned(space, SplitSettings(shares={"train": 0.6, "val": 0.4}, seed=seed))
    ties = [{fingerprints[n] for n in row} or {f"q{number % 4}"} for number, row in enumerate(rows)]
    groups = [set(one) for one in ties]
    for _ in rows:  # closure, the slow way
        groups = [set().union(*(other for other in groups if other & one)) for one in groups]
    for one in range(len(rows)):
        for other in range(len(rows)):
            assert (found[one][0] == found[other][0]) == bool(groups[one] & groups[other])
    for group, split in found.values():
        assert split == ("train" if naive_place(seed, group) < 0.6 else "val")


def test_shares_are_as_asked_in_every_source(tmp_path):
    rows = [sample(f"{n:05d}", [f"k{n}"], source="ab"[n % 2]) for n in range(4000)]
    space = store(tmp_path, rows, [image(f"k{n}", phash=None, dhash=None, thumbnail=None) for n in range(4000)])
    found = assigned(space, SplitSettings(shares={"train": 0.8, "val": 0.15, "test": 0.05}, seed=7))
    for source in (0, 1):
        splits = [found[n][1] for n in range(source, 4000, 2)]
        for name, share in (("train", 0.8), ("val", 0.15), ("test", 0.05)):
            deviation = (share * (1 - share) / 2000) ** 0.5
            assert abs(splits.count(name) / 2000 - share) < 4 * deviation


def test_more_rows_move_no_others(tmp_path):
    images = [image(f"k{n}") for n in range(400)]
    before = assigned(many(tmp_path / "a", [[f"k{n}"] for n in range(0, 400, 2)], images))
    after = assigned(many(tmp_path / "b", [[f"k{n}"] for n in (*range(0, 400, 2), *range(1, 400, 2))], images))
    assert {n: after[n] for n in before} == before
    assert len({split for _, split in after.values()}) == 2


def test_the_seed_and_nothing_else_changes_them(tmp_path):
    images = [image(f"k{n}") for n in range(100)]
    space = many(tmp_path, [[f"k{n}"] for n in range(100)], images)
    first = assigned(space)
    assert assigned(space) == first
    other_order = SplitSettings.model_validate({"val": 0.5, "train": 0.5, "seed": 1})
    assert assigned(space, other_order) == first
    assert assigned(space, SplitSettings(shares=HALVES.shares, seed=2)) != first


def test_unreadable_images_hold_rows_together_by_their_path(tmp_path):
    rows = [sample("1", ["gone"]), sample("2", ["gone", "a"]), sample("3", ["a"]), sample("4", ["b"])]
    space = store(tmp_path, rows, [image("a"), image("b")], errors={"gone.png": "missing"})
    found = assigned(space)
    assert found[0][0] == found[1][0] == found[2][0] == "a"
    assert found[3][0] == "b"


def test_components_chain_where_stars_do_not():
    """0 - 1 - 2: neighbours are alike, the ends are not."""
    thumbnails = np.repeat(np.array([[0], [4], [8], [200]], np.uint8), 768, axis=1)
    hashes = np.zeros(4, np.uint64)
    fingerprints = ImageFingerprints.of(hashes, hashes, thumbnails, np.full(len(hashes), 64))
    for max_mean_diff, components in ((4.0, [0, 0, 0, 3]), (3.9, [0, 1, 2, 3])):
        found = DuplicateIndex(fingerprints, MatchSettings(max_mean_diff=max_mean_diff))
        assert connected_components(found, np.arange(4)).tolist() == components


def test_bounds_do_not_depend_on_the_order_of_the_recipe():
    assert upper_bounds({"val": 0.25, "train": 0.75}) == upper_bounds({"train": 0.75, "val": 0.25})


@pytest.mark.parametrize(
    "splits", [{"train": 0.9, "val": 0.2}, {"train": 1.0}, {"train": 1.2, "val": -0.2}, {"a b": 0.5, "c": 0.5}]
)
def test_bad_shares_are_an_error_of_the_recipe(splits):
    with pytest.raises(ValueError, match=r"add up to 1|needs a plain name"):
        SplitSettings.model_validate(splits)


def test_a_run_writes_a_file_for_each_split(tmp_path):
    pictures = [f"{n}.png" for n in range(12)]
    for n, name in enumerate(pictures):
        sets.save(tmp_path / "images" / name, sets.scene(n))
    for n in range(4):
        sets.save(tmp_path / "images" / f"copy{n}.jpg", sets.scene(n), quality=85)
    rows = [sets.row(n, name, f"What is number {n}?") for n, name in enumerate(pictures)]
    rows += [sets.row(100 + n, f"copy{n}.jpg", "And this?") for n in range(4)]
    rows.append(sets.row(200, None, "Which?"))
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    recipe = sets.recipe(tmp_path, splits={"train": 0.6, "val": 0.4, "seed": 3})
    outcome = pipeline.run(recipe, "r.yaml")
    out = tmp_path / "out"
    ids = {
        split: [json.loads(line)["id"] for line in (out / f"samples-{split}.jsonl").read_text().splitlines()]
        for split in ("train", "val")
    }
    whole = [json.loads(line)["id"] for line in (out / "samples.jsonl").read_text().splitlines()]
    assert sorted(ids["train"] + ids["val"]) == sorted(whole)
    assert ids["train"] and ids["val"]
    for n in range(4):
        assert sum({f"set/train/{n}", f"set/train/{100 + n}"} <= set(part) for part in ids.values()) == 1
    table = {row["sample_id"]: row for row in pq.read_table(out / "samples.parquet").to_pylist()}
    assert {one for one, row in table.items() if row["assigned_split"] == "val"} == set(ids["val"])
    assert table["set/train/0"]["split"] == "train", "the source's own split is another column"
    (counted,) = outcome.counts["splits"]
    assert counted == {"source": "set", "total": 17, "rows": {split: len(part) for split, part in ids.items()}}
    assert "## Splits" in (out / "README.md").read_text()
    assert CurateRecipe.model_validate(recipe.model_dump(mode="json")) == recipe

    pipeline.decide_again(sets.recipe(tmp_path), "r.yaml")
    assert not list(out.glob("samples-*.jsonl")), "a recipe without splits leaves none"
    with pytest.raises(UserError):
        pipeline.decide_again(sets.recipe(tmp_path, sources=[{"location": "elsewhere"}]), "r.yaml")
