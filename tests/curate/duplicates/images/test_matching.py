"""What counts as the same image, on real pixels: copies do; flat images, line art and documents need more."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from curate.duplicates.images.clusters import build_star_clusters
from curate.duplicates.images.fingerprints import ImageFingerprints, compare
from curate.duplicates.images.matching import DuplicateIndex
from curate.settings.copies import MatchSettings
from studies.demo.copies import KINDS, RE_ENCODED, fingerprints_of

SETTINGS = MatchSettings()


def joined(looks):
    """Pairs whose hashes are near, and those of them that count as the same image."""
    i, j = np.triu_indices(len(looks.phash), 1)
    apart = compare(looks, i, looks, j, SETTINGS)
    return int((apart.bits <= SETTINGS.radius).sum()), int(apart.confirmed(SETTINGS).sum())


@pytest.mark.parametrize(("kind", "by_hash"), [("pages", 1), ("forms", 30), ("drawings", 10), ("photographs", 0)])
def test_different_images_are_not_joined(kind, by_hash):
    count = 16 if kind in ("pages", "forms") else 80
    near, same = joined(fingerprints_of(KINDS[kind](count, np.random.default_rng(4))))
    assert near >= by_hash, "nothing to test: their hashes differ"
    assert same == 0


@pytest.mark.parametrize("kind", ["pages", "forms", "drawings", "photographs"])
def test_copies_that_were_stored_again_are_found(kind):
    images = KINDS[kind](6, np.random.default_rng(5))
    own = np.arange(len(images))
    looks = fingerprints_of(images)
    for name, alter in RE_ENCODED.items():
        if kind == "drawings" and name in ("JPEG, quality 30", "half as wide, JPEG 75"):
            continue  # of 64 pixels too little is left
        found = compare(looks, own, fingerprints_of([alter(one) for one in images]), own, SETTINGS).confirmed(SETTINGS)
        assert found.all(), name


def test_flat_images_of_different_colours():
    """All flat images share two phashes and one dhash."""
    colours = [(r, g, b) for r in (0, 90, 255) for g in (0, 90, 255) for b in (0, 90, 255)]
    looks = fingerprints_of([Image.new("RGB", (200, 100), colour) for colour in colours])
    near, same = joined(looks)
    assert near == len(colours) * (len(colours) - 1) // 2
    assert same == 0


def test_line_art():
    """Thin lines in different places on white."""
    images = []
    for place in range(40, 480, 40):
        image = Image.new("RGB", (512, 512), "white")
        ImageDraw.Draw(image).line((place, 40, 500 - place, 470), "black", 5)
        images.append(image)
    assert joined(fingerprints_of(images))[1] == 0


def test_a_different_word_on_the_same_page():
    """Nine stamps on one form; only the stamp differs."""
    images = []
    for number in range(9):
        page = KINDS["pages"](1, np.random.default_rng(8))[0]
        ImageDraw.Draw(page).rectangle((60 + 55 * number, 60, 100 + 55 * number, 110), fill="black")
        images.append(page)
    near, same = joined(fingerprints_of(images))
    assert near > 0
    assert same == 0


def test_copies_of_a_placeholder_cost_no_more_than_they_are(monkeypatch):
    """Counted: each copy of a placeholder is compared with its representative, not with the other copies."""
    from curate.duplicates.images import clusters, matching

    compared = []

    def counting(*arguments):
        compared.append(len(arguments[1]))
        return compare(*arguments)

    monkeypatch.setattr(matching, "compare", counting)
    monkeypatch.setattr(clusters, "compare", counting)
    count = 100_000
    placeholder = np.broadcast_to(np.full(768, 200, np.uint8), (count, 768))
    same = np.full(count, 0x8000000000000000, np.uint64)
    contrast = np.zeros(count, np.float32)
    copies = ImageFingerprints(
        same, same, placeholder, np.full(count, 64, np.float32), np.full((count, 3), 200, np.float32), contrast
    )
    made = build_star_clusters(DuplicateIndex(copies, MatchSettings(hash="phash")), np.arange(count))
    assert made.member.tolist() == list(range(1, count))
    assert not made.representative.any()
    assert sum(compared) == 2 * (count - 1), "once to find, once for the distance that is reported"
