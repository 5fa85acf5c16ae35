"""Blocks against blocks, over any additions, changes and removals of parts, find what one search among all finds."""

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.duplicates.images import block_pairs, matching
from curate.duplicates.images.block_pairs import blocks_of, search_stored
from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.duplicates.images.matching import search_matches
from curate.duplicates.images.stored import read_stored
from curate.engines import runner_of
from curate.settings.copies import MatchSettings
from curate.workspace import Workspace
from tests.curate.duplicates.images.test_clusters import crowded_fingerprints
from tests.curate.duplicates.images.test_stored_search import many_images, write_parts
from winnow.parquet.table_parts import run_here

SETTINGS = MatchSettings(radius=6)
IMAGES = many_images(np.random.default_rng(7), 90)


def parted(folder, parts, images=IMAGES):
    """A set with one part of signals for each list of numbers of images."""
    space = Workspace(folder)
    space.signals.mkdir(parents=True, exist_ok=True)
    numbers = [number for part in parts for number in part]
    write_parts(space, [images[number] for number in numbers], np.cumsum([len(part) for part in parts])[:-1].tolist())
    return space


class Counted:
    """A runner that says how many parts it has made."""

    made = 0

    def __call__(self, make):
        def run(items):
            self.made += len(items)
            return run_here(make)(items)

        return run


def all_pairs(search, fingerprints):
    """The pairs that a search holds, those of dense buckets written out."""
    pairs = {tuple(pair) for pair in search.near.tolist()}
    for hashes, dense_buckets in zip(fingerprints.hashes(SETTINGS), search.dense_buckets, strict=True):
        for left, right in dense_buckets:
            i, j = np.meshgrid(np.flatnonzero(hashes == left), np.flatnonzero(hashes == right))
            i, j = matching.confirmed(fingerprints, i.ravel(), fingerprints, j.ravel(), SETTINGS)
            pairs |= {(min(pair), max(pair)) for pair in zip(i.tolist(), j.tolist(), strict=True) if pair[0] != pair[1]}
    return pairs


def naive(fingerprints):
    """Every pair of images, one by one."""
    i, j = np.triu_indices(len(fingerprints), 1)
    i, j = matching.confirmed(fingerprints, i, fingerprints, j, SETTINGS)
    return set(zip(i.tolist(), j.tolist(), strict=True))


PARTS = st.lists(st.lists(st.integers(0, 89), min_size=1, max_size=12), min_size=1, max_size=7)


@settings(max_examples=6, deadline=None)
@given(states=st.lists(PARTS, min_size=1, max_size=3), expanded=st.sampled_from([1, 16, 256]))
def test_any_edits_find_what_every_pair_finds(states, expanded, tmp_path_factory):
    """Equal images lie in several parts, and equal parts in one set."""
    folder = tmp_path_factory.mktemp("set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_EXPANDED", expanded)
        patch.setattr(block_pairs, "_HIGHEST", 2)
        for parts in states:
            stored = read_stored(parted(folder, parts))
            found = search_stored(stored, SETTINGS)
            assert all_pairs(found, stored.fingerprints) == naive(stored.fingerprints)
            again = all_pairs(search_matches(stored.fingerprints, SETTINGS), stored.fingerprints)
            assert again == naive(stored.fingerprints)
        (kept,) = (stored.folder).glob("pairs-*")
        asked = len(blocks_of(stored.digests, [*stored.starts.values(), len(stored.fingerprints)]))
        assert len(list(kept.glob("*.parquet"))) <= asked * (asked + 1) / 2, "what is gone is removed"


def test_only_what_is_new_is_compared(tmp_path):
    """A new part meets every block once; one that is written again with the same images meets none."""
    parts = [list(range(10 * number, 10 * number + 10)) for number in range(8)]
    counted = Counted()
    space = parted(tmp_path, parts)
    search_stored(read_stored(space), SETTINGS, counted)
    blocks = len(blocks_of(read_stored(space).digests, range(0, 90, 10)))
    assert counted.made == blocks * (blocks + 1) / 2
    os.utime(space.image_parts()[0], (1, 1))
    search_stored(read_stored(space), SETTINGS, counted)
    assert counted.made == blocks * (blocks + 1) / 2
    space = parted(tmp_path, [*parts, list(range(80, 90))])
    before = {block.digest for block in blocks_of(read_stored(space).digests[:8], range(0, 90, 10))}
    after = blocks_of(read_stored(space).digests, range(0, 100, 10))
    new = [block for block in after if block.digest not in before]
    counted.made = 0
    search_stored(read_stored(space), SETTINGS, counted)
    assert counted.made == sum(len(after) - place for place in range(len(new)))
    assert len(new) == 1


def test_processes_find_the_same(tmp_path):
    parts = [list(range(9 * number, 9 * number + 9)) for number in range(10)]
    here = search_stored(read_stored(parted(tmp_path / "here", parts)), SETTINGS)
    there = search_stored(
        read_stored(parted(tmp_path / "there", parts)), SETTINGS, runner_of("local", 2, tmp_path / "there")
    )
    assert np.array_equal(here.near, there.near)
    files = [sorted(path.name for path in (tmp_path / name).rglob("pairs-*/*.parquet")) for name in ("here", "there")]
    assert files[0] == files[1]


def test_blocks_change_where_parts_do():
    """A part that comes or goes in the middle of many leaves most blocks as they are."""
    rng = np.random.default_rng(3)
    digests = [f"{value:016x}" for value in rng.integers(0, 2**63, 3000).tolist()]
    blocks = blocks_of(digests, range(3001))
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert len(blocks) < 80
    fewer = blocks_of(digests[:1500] + digests[1501:], range(3000))
    assert len({block.digest for block in fewer} - {block.digest for block in blocks}) <= 2
    grown = [len({b.digest for b in blocks_of(digests[: n + 1], range(n + 2))} -
                 {b.digest for b in blocks_of(digests[:n], range(n + 1))}) for n in range(0, 3000, 50)]  # fmt: skip
    assert set(grown) == {1}


def test_pairs_of_two_sets_are_those_of_both_together():
    fingerprints = crowded_fingerprints(80, 4)
    a, b = (
        ImageFingerprints(**{f.name: getattr(fingerprints, f.name)[cut] for f in dataclasses.fields(fingerprints)})
        for cut in (slice(50), slice(50, 80))
    )
    found = all_pairs(matching.search_between(a, b, SETTINGS), fingerprints)
    assert found == {(i, j) for i, j in naive(fingerprints) if i < 50 <= j} and found
