"""Edited copies of the photographs that scikit-image and scikit-learn ship."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from curate import pipeline
from curate.duplicates.edits import search as edits
from curate.duplicates.edits import word_index
from curate.duplicates.edits.looks import Looks
from curate.duplicates.edits.search import edited_pairs
from curate.kinds import KINDS
from curate.signals import SIGNALS, measure_pixels
from curate.signals.keypoints import MIRROR, keypoints
from studies.demo.copies import _PHOTOS, _package, drawings, forms, pages
from tests.curate import sets


def looks_of(images, folder, parts=1):
    """Measured as ``curate run`` does; None is an image that did not decode."""
    rows = []
    for image in images:
        row = {"width": 0, "height": 0}
        if image is not None:
            row = measure_pixels(image, ("looks", "thumbnail")) | {"width": image.width, "height": image.height}
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    fields = SIGNALS["looks"].fields() + SIGNALS["thumbnail"].fields()
    schema = pa.schema([*fields, ("width", pa.int32()), ("height", pa.int32())])
    files = []
    for number, some in enumerate(np.array_split(np.arange(len(rows)), parts)):
        files.append(folder / f"part-{number}.parquet")
        pq.write_table(pa.Table.from_pylist([rows[k] for k in some], schema), files[-1])
    return Looks.of_parts(files, folder / "scratch")


@pytest.fixture(scope="module")
def photos():
    return [Image.open(_package("skimage") / "data" / name).convert("RGB").reduce(2) for name in _PHOTOS]


def found(blocks):
    return {
        (int(i), int(j)): (KINDS[kind], float(strength))
        for block in blocks
        for i, j, kind, strength in zip(block.i, block.j, block.kind, block.strength, strict=True)
    }


def _part(photo, share, left=0.0, top=0.0):
    width, height = photo.width * share, photo.height * share
    left, top = (photo.width - width) * left, (photo.height - height) * top
    return photo.crop((round(left), round(top), round(left + width), round(top + height)))


def _banner(photo):
    made = photo.copy()
    ImageDraw.Draw(made).rectangle((0, photo.height * 0.85, photo.width, photo.height), fill=(160, 20, 30))
    return made


EDITS = {
    "resized": lambda photo: photo.resize((photo.width * 2 // 3, photo.height * 2 // 3)),
    "toned": lambda photo: photo.convert("L").convert("RGB"),
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(0.7),
    "mirrored": ImageOps.mirror,
    "framed": lambda photo: ImageOps.expand(photo, photo.width // 12, "maroon"),
    "overlaid": _banner,
    "cropped": lambda photo: _part(photo, 0.75, 0.3, 0.6),
    "turned": lambda photo: photo.rotate(4, Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize("kind", EDITS)
def test_an_edited_copy_is_found_and_named(photos, tmp_path, kind):
    some = photos[:3]  # photographs of things, in colour
    pairs = found(edited_pairs(looks_of([*some, None, *map(EDITS[kind], some)], tmp_path), KINDS))
    assert {pair: name for pair, (name, _) in pairs.items()} == {(k, k + 4): kind for k in range(3)}
    assert all(0.6 <= strength <= 1 for _, strength in pairs.values())


def test_only_the_kinds_asked_for_are_yielded(photos, tmp_path):
    looks = looks_of([photos[0], ImageOps.mirror(photos[0]), photos[0].convert("L").convert("RGB")], tmp_path)
    assert {name for name, _ in found(edited_pairs(looks, ["mirrored"])).values()} == {"mirrored"}
    assert found(edited_pairs(looks, ["cropped"])) == {}


def _every_way(photos):
    return [*photos[:3], *(edit(photo) for photo in photos[:2] for edit in EDITS.values())]


def test_new_images_against_all_give_what_a_full_search_gives(photos, tmp_path):
    looks = looks_of(_every_way(photos), tmp_path, parts=3)
    whole = found(edited_pairs(looks, KINDS))
    later = found(edited_pairs(looks, KINDS, earlier=11))
    assert later == {pair: what for pair, what in whole.items() if pair[1] >= 11}
    assert len(later) < len(whole)
    assert found(edited_pairs(looks, KINDS, earlier=len(looks))) == {}


def test_stored_looks_are_continued(photos, tmp_path):
    images = _every_way(photos)[:6]
    looks_of(images, tmp_path / "whole", parts=2)
    looks_of(images[:3], tmp_path / "grown")
    (tmp_path / "grown" / "scratch" / "points.bin").open("ab").write(b"left by a killed run")
    parts = [tmp_path / "whole" / f"part-{number}.parquet" for number in (0, 1)]
    first = tmp_path / "grown" / "part-0.parquet"
    Looks.of_parts([first, parts[1]], tmp_path / "grown" / "scratch")
    for file in (tmp_path / "whole" / "scratch").glob("*.bin"):
        assert file.read_bytes() == (tmp_path / "grown" / "scratch" / file.name).read_bytes(), file.name


def test_words_are_searched_as_comparing_all_with_all_finds_them(photos, tmp_path):
    looks = looks_of(_every_way(photos)[:9], tmp_path)
    words = np.array(looks.points["word"])
    index = word_index.WordIndex(word_index.WordIndex.built(words, 0))
    keys = np.stack([words, words ^ np.uint64(4)], axis=1).astype(np.uint32)
    asked, low, high = index.ranges(keys, None)
    near = {
        (int(k), int(index.sorted[place] & word_index.LOW))
        for k, first, last in zip(asked, low, high, strict=True)
        for place in range(first, last)
    }
    assert near == set(zip(*map(np.ndarray.tolist, np.nonzero(keys.reshape(-1, 1) == keys[:, 0])), strict=True))
    assert (index.rest == (words >> np.uint64(32))[(index.sorted & word_index.LOW).astype(int)]).all()


def test_a_crowd_of_copies_is_tied_to_its_first_ones(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(word_index, "CROWD", 2)
    looks = looks_of([photos[0]] * 6, tmp_path)
    assert found(edited_pairs(looks, KINDS)).keys() == {(0, 1)} | {(i, j) for i in (0, 1) for j in range(2, 6)}


def block_patterns(count, cells=8):
    """Pictures of random grey blocks: their corners lie at the same places and look alike."""
    blocks = np.random.default_rng(1).integers(0, 256, (count, cells, cells, 3), dtype=np.uint8)
    return [Image.fromarray(block).resize((64, 64), Image.Resampling.NEAREST) for block in blocks]


def test_pictures_of_one_pattern_are_laid_over_those_most_like_them(tmp_path, monkeypatch):
    """All pairs are candidates; what is left out is told, and a copy among them is found."""
    laid, plain, told = [], edits._confirmed, []
    monkeypatch.setattr(edits, "_confirmed", lambda *given: laid.append(len(given[2])) or plain(*given))
    pictures = block_patterns(36)
    looks = looks_of([*pictures, ImageOps.mirror(pictures[7])], tmp_path)
    pairs = found(edited_pairs(looks, KINDS, limited=told.append))
    assert pairs[7, 36][0] == "mirrored"
    assert sum(told) > 8
    assert sum(laid) <= 8 * len(looks) + 8
    monkeypatch.setattr(edits, "_TOGETHER", 1000)
    told.clear()
    assert found(edited_pairs(looks, KINDS, limited=told.append)) == pairs
    assert sum(told) == 0


def test_copies_beyond_the_first_candidates_are_found(photos, tmp_path, monkeypatch):
    """As long as some of those that are most alike are copies, more are laid over each other."""
    monkeypatch.setattr(edits, "_TOGETHER", 2)
    looks, told = looks_of([photos[0]] * 7, tmp_path), []
    assert len(found(edited_pairs(looks, KINDS, limited=told.append))) == 21
    assert told == [0]
    monkeypatch.setattr(edits, "_MOST", 4)
    assert len(found(edited_pairs(looks, KINDS, limited=told.append))) == 1 + 2 + 3 + 4 + 4 + 4
    assert told == [0, 2]


def test_an_index_that_grows_finds_what_one_of_all_finds(photos, tmp_path, monkeypatch):
    """The first images are indexed on disk; of a crowd the first are found, in whichever index they are."""
    monkeypatch.setattr(word_index, "CROWD", 3)
    monkeypatch.setattr(word_index, "_FEW", 1)
    pictures = [*_every_way(photos)[:7], photos[0], photos[1], photos[0]]
    looks_of(pictures, tmp_path, parts=5)
    files = sorted(tmp_path.glob("part-*.parquet"))
    assert len(word_index.indexes_of(Looks.of_parts(files[:3], tmp_path / "grown"))) == 1
    grown, fresh = (Looks.of_parts(files, tmp_path / name) for name in ("grown", "fresh"))
    assert [len(word_index.indexes_of(looks)) for looks in (grown, fresh)] == [2, 1]
    expected = [tuple(map(np.ndarray.tolist, dataclasses.astuple(block))) for block in edited_pairs(fresh, KINDS)]
    assert [
        tuple(map(np.ndarray.tolist, dataclasses.astuple(block))) for block in edited_pairs(grown, KINDS)
    ] == expected
    assert expected
    (tmp_path / "grown" / "rest.npy").write_bytes(b"damaged")
    assert len(word_index.indexes_of(grown)) == 1, "made again"
    assert len(word_index.indexes_of(Looks.of_parts(files[1:], tmp_path / "grown"))) == 1


@pytest.mark.parametrize("make", [drawings, pages, forms])
def test_strangers_of_one_layout_are_not_joined(make, tmp_path):
    assert found(edited_pairs(looks_of(make(6, np.random.default_rng(3)), tmp_path), KINDS)) == {}


@settings(max_examples=15, deadline=None)
@given(gain=st.floats(0.6, 1.0), offset=st.floats(0, 40))
def test_words_do_not_see_gain_and_offset(gain, offset):
    view = np.random.default_rng(0).integers(30, 190, (10, 10)).astype(np.uint8)  # nothing is clipped
    view = np.asarray(Image.fromarray(view).resize((80, 80), Image.Resampling.BICUBIC))
    one, other = keypoints(view), keypoints(np.round(view * gain + offset).clip(0, 255).astype(np.uint8))
    assert len(np.intersect1d(one["word"] & word_index.LOW, other["word"] & word_index.LOW)) > 0.7 * len(one) > 5


def test_the_word_of_a_mirrored_keypoint_is_known_without_the_mirror_image(photos):
    view = np.asarray(photos[0].convert("L").resize((80, 60)))
    one, other = keypoints(view), keypoints(view[:, ::-1])
    assert len(np.intersect1d(one["word"] ^ MIRROR, other["word"])) > 0.7 * len(one)


def test_a_run_says_how_many_images_were_limited(tmp_path, monkeypatch, capsys):
    """On stderr, in the manifest and on the card; as long as nothing changes, a later run says the same."""
    monkeypatch.setattr(edits, "_TOGETHER", 1)
    pictures = block_patterns(8)
    for number, picture in enumerate(pictures):
        sets.save(tmp_path / f"images/{number}.png", picture)
    sets.write_lines(tmp_path / "rows.jsonl", (sets.row(n, f"{n}.png") for n in range(len(pictures))))
    recipe = sets.recipe(tmp_path, duplicates={})
    pipeline.run(recipe, "recipe.yaml", workers=1)
    limited = json.loads((tmp_path / "out/manifest.json").read_text())["counts"]["limited"]
    assert 0 < limited["duplicates"] < 8
    assert f"duplicates: {limited['duplicates']} images have keypoints in common" in capsys.readouterr().err
    assert "edited copies of them were sought only among those" in (tmp_path / "out/README.md").read_text()
    pipeline.decide_again(recipe, "recipe.yaml")
    assert json.loads((tmp_path / "out/manifest.json").read_text())["counts"]["limited"] == limited
