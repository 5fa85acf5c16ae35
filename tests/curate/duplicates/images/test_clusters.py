"""Stars: members confirmed against their representative, greedy in keep-best order, equal to a naive loop."""

import numpy as np
import pytest

from curate.duplicates.images import matching
from curate.duplicates.images.clusters import build_star_clusters, connected_components
from curate.duplicates.images.fingerprints import ImageFingerprints, compare, matching_pairs
from curate.duplicates.images.matching import DuplicateIndex
from curate.settings.copies import MatchSettings

SETTINGS = MatchSettings(hash="both", radius=6, max_mean_diff=4.0, max_cell_diff=20.0, max_contrast_diff=0.1)


def crowded_fingerprints(count, seed):
    """Families of images: hashes a few bits apart, thumbnails a few grey levels apart; some equal."""
    rng = np.random.default_rng(seed)
    families = rng.integers(0, max(count // 6, 1), count)
    centre = rng.integers(0, 2**64, (2, count), dtype=np.uint64)
    images = rng.integers(20, 230, (count, 768)).astype(np.int16)
    hashes = []
    for which in (0, 1):
        flips = [sum(1 << int(b) for b in rng.choice(64, int(rng.integers(0, 5)), replace=False)) for _ in range(count)]
        hashes.append(centre[which][families] ^ np.array(flips, np.uint64))
    spread = rng.integers(0, 7, (count, 1))
    noise = (rng.random((count, 768)) * 2 * spread - spread).astype(np.int16)
    thumbnails = np.clip(images[families] + noise, 0, 255).astype(np.uint8)
    spot = rng.random(count) < 0.1  # one cell that differs a lot
    thumbnails[spot, :3] = 255 - thumbnails[spot, :3]
    return ImageFingerprints.of(*hashes, thumbnails, rng.integers(40, 400, count))


def naive_difference(a, i, b, j, settings):
    left, right = a.thumbnails[i].astype(int), b.thumbnails[j].astype(int)
    cells = np.abs(left - right).reshape(256, 3).mean(axis=1)
    bits = min(
        bin(int(x[i]) ^ int(y[j])).count("1") for x, y in zip(a.hashes(settings), b.hashes(settings), strict=True)
    )
    return cells.mean(), cells.max(), bits


def naive_same(a, i, b, j, settings):
    mean, cell, bits = naive_difference(a, i, b, j, settings)
    return mean <= settings.max_mean_diff and cell <= naive_limit(a, i, b, j, settings) and bits <= settings.radius


def naive_limit(a, i, b, j, settings):
    contrast = min(one.thumbnails[k].reshape(256, 3).std(axis=0).mean() for one, k in ((a, i), (b, j)))
    by_size = settings.max_cell_diff * 64 / min(a.sides[i], b.sides[j])
    return min(settings.max_cell_diff, max(8, by_size, settings.max_contrast_diff * contrast))


def naive_stars(fingerprints, settings):
    found = []
    for image in range(len(fingerprints.phash)):
        heads = [head for head in range(image) if found[head] == head]
        found.append(
            next((head for head in heads if naive_same(fingerprints, head, fingerprints, image, settings)), image)
        )
    return np.array(found)


def representatives(fingerprints, settings=SETTINGS):
    """For each image the one that it belongs to, given best first."""
    found = np.arange(len(fingerprints.phash))
    stars = build_star_clusters(DuplicateIndex(fingerprints, settings), found)
    found[stars.member] = stars.representative
    return found


@pytest.mark.parametrize("expanded", [1, 4, 256])
@pytest.mark.parametrize("seed", range(3))
def test_crowds_and_families_beside_them_are_grouped_as_a_naive_loop_does(seed, expanded, monkeypatch):
    """Some pairs are found on demand, some are known, and both kinds meet in one component."""
    monkeypatch.setattr(matching, "_EXPANDED", expanded)
    rng = np.random.default_rng(seed)
    fingerprints = crowded_fingerprints(90, seed)
    copies = np.where(rng.random(90) < 0.5, rng.integers(0, 12, 90), np.arange(90))
    fingerprints = ImageFingerprints.of(
        *(getattr(fingerprints, name)[copies] for name in ("phash", "dhash", "thumbnails", "sides"))
    )
    naive = naive_stars(fingerprints, SETTINGS)
    assert np.array_equal(representatives(fingerprints), naive)
    same = [(i, j) for j in range(90) for i in range(j) if naive_same(fingerprints, i, fingerprints, j, SETTINGS)]
    shown = np.flatnonzero(rng.random(90) < 0.8)
    component = {int(image): int(image) for image in range(90)}
    for i, j in same * 90:
        if i in shown and j in shown:
            component[i] = component[j] = min(component[i], component[j])
    found = connected_components(DuplicateIndex(fingerprints, SETTINGS), shown)
    assert found.tolist() == list(component.values())
    assert len(set(naive)) < 80


@pytest.mark.parametrize("hash_name", ["phash", "dhash", "both"])
@pytest.mark.parametrize("seed", range(4))
def test_stars_equal_the_naive_loop(seed, hash_name):
    fingerprints = crowded_fingerprints(150, seed)
    settings = SETTINGS.model_copy(update={"hash": hash_name})
    stars = build_star_clusters(DuplicateIndex(fingerprints, settings), np.arange(150))
    assert np.array_equal(representatives(fingerprints, settings), naive_stars(fingerprints, settings))
    assert len(stars.member) > 20, "nothing to test"
    for place, (member, representative) in enumerate(zip(stars.member, stars.representative, strict=True)):
        mean, cell, bits = naive_difference(fingerprints, representative, fingerprints, member, settings)
        assert stars.mean[place] == pytest.approx(mean)
        assert stars.cell[place] == pytest.approx(cell)
        assert stars.bits[place] == bits


def test_stars_do_not_chain():
    """A near B near C, but A far from C: C stays out of A's star."""
    thumbnails = np.stack([np.full(768, grey, np.uint8) for grey in (100, 103, 106)])
    same = np.zeros(3, np.uint64)
    assert representatives(ImageFingerprints.of(same, same, thumbnails, np.full(3, 64))).tolist() == [0, 0, 2]


def test_a_crowd_of_equal_hashes_is_thinned():
    """More members than are looked at one by one; equal hashes alone make nothing equal."""
    count = 3000
    rng = np.random.default_rng(0)
    greys = rng.permutation(np.repeat(np.arange(0, 250, 10), count // 25)).astype(np.uint8)
    same = np.full(count, 0x8000000000000000, np.uint64)
    found = representatives(
        ImageFingerprints.of(same, same, np.repeat(greys[:, None], 768, axis=1), np.full(count, 64))
    )
    first = {grey: int(np.flatnonzero(greys == grey)[0]) for grey in np.unique(greys)}
    assert found.tolist() == [first[grey] for grey in greys]


@pytest.mark.parametrize("spread", [20, 200])
def test_a_crowd_is_searched_by_its_lightness(spread):
    """Equal hashes, lightness and details of every kind: the same stars as by comparing all with all."""
    count = 900
    rng = np.random.default_rng(spread)
    thumbnails = np.repeat(rng.integers(20, 20 + spread, (count, 1, 3)), 256, axis=1).astype(np.int16)
    thumbnails[np.arange(count), rng.integers(0, 4, count)] += rng.integers(0, 12, (count, 1))
    same = np.zeros(count, np.uint64)
    fingerprints = ImageFingerprints.of(
        same, same, thumbnails.reshape(count, 768).astype(np.uint8), np.full(count, 500)
    )
    i, j = np.divmod(np.arange(count * count), count)
    near = compare(fingerprints, i, fingerprints, j, SETTINGS).confirmed(SETTINGS).reshape(count, count)
    expected = np.full(count, -1)
    for image in range(count):
        if expected[image] < 0:
            expected[near[image] & (expected < 0)] = image
    assert np.array_equal(representatives(fingerprints), expected)
    assert len(np.unique(expected)) < count


def test_no_images():
    empty = ImageFingerprints.of(*np.empty((2, 0), np.uint64), np.empty((0, 768), np.uint8), np.empty(0))
    assert len(representatives(empty)) == 0


def test_matches_equal_the_naive_product():
    a, b = crowded_fingerprints(90, 1), crowded_fingerprints(90, 1)
    b = ImageFingerprints.of(b.phash[::2], b.dhash[::2], b.thumbnails[::2], b.sides[::2])
    found = {(int(i), int(j)) for one, two, _ in matching_pairs(a, b, SETTINGS) for i, j in zip(one, two, strict=True)}
    expected = {(i, j) for i in range(90) for j in range(45) if naive_same(a, i, b, j, SETTINGS)}
    assert found == expected
    assert len(expected) > 45


def test_difference_is_symmetric_and_zero_for_itself():
    fingerprints = crowded_fingerprints(40, 2)
    i, j = np.arange(40), np.roll(np.arange(40), 7)
    there, back = (
        compare(fingerprints, i, fingerprints, j, SETTINGS),
        compare(fingerprints, j, fingerprints, i, SETTINGS),
    )
    assert np.array_equal(there.mean, back.mean)
    assert np.array_equal(there.cell, back.cell)
    assert np.array_equal(there.bits, back.bits)
    itself = compare(fingerprints, i, fingerprints, i, SETTINGS)
    assert not itself.mean.any() and not itself.cell.any() and not itself.bits.any()
