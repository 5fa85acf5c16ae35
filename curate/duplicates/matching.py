"""The search for images that are the same image: all against all, or what is new against all.

What it finds does not depend on the way there: a search that goes on where an earlier one ended holds the
same pairs as one from the start.

What images look like: two perceptual hashes and a colour thumbnail; a hash proposes, the thumbnail confirms.

phash sees neither colour nor flat regions and misses some re-encoded copies; dhash misses others.
Two images are the same one when either hash lies within the radius and the 16×16 thumbnails differ
little, both on average and in every single cell: a re-encoded file changes all cells a little, another
image some cells a lot. How much a cell may differ depends on the size of the image and on its
contrast, because pages that share a layout, and forms that are filled in differently, have nearly the
same hashes and differ in few pale cells.

Measured by ``benchmarks/curves_duplicates.py`` on 80 images of each kind, 560 copies of them stored
anew (JPEG, WebP, resized) and about 3,100 pairs of different ones: copies found / different pairs joined.

                                               photographs     drawings        pages         forms
    either hash within 8, nothing else         100.0% / 1      99.8% / 24      100% / 77     100% / 2,648
    phash within 8, all thresholds              98.8% / 0      94.1% / 0       100% / 0      100% / 0
    either within 8, mean 4                    100.0% / 0      97.3% / 0       100% / 77     100% / 2,648
    either within 8, mean 4, cell 36           100.0% / 0      95.4% / 0       100% / 76     100% / 2,648
    the same with contrast 1                   100.0% / 0      95.4% / 0       100% / 4      100% / 2
    the same with contrast 0.5 (the default)   100.0% / 0      95.4% / 0       100% / 0      100% / 0

The drawings have 64 pixels; what is not found of them is mostly JPEG of 32 pixels. Images that were edited
(a watermark, cropped, turned, brighter by a tenth) are other images to the defaults: raise ``max_cell_diff``
and ``max_contrast_diff`` to join them too, on photographs.

On easy-vqa's 5,000 distinct drawings (12.5 million pairs) and 10,000 copies of them (JPEG and WebP of quality
40-92, 48-128 pixels) the defaults find 99.4% and join 6 pairs; phash within 4 alone finds 96.2% and joins 9,855.

Which images are the same image as a given one: from the pairs found, and from crowds as they are asked for.

Large groups of equal hashes: their images are proposed when asked for, never expanded into pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Groups, Hashes, Indices, Pairs, group_equal, neighbours, starts_of
from curate.recipe import MatchSettings
from winnow.tables import query_batches

_CROWD = 256  # a group of more members is searched by their lightness


@dataclass(frozen=True)
class _Crowd:
    """Members of a large group, sorted by lightness."""

    members: Indices
    light: NDArray[np.float32]


class Proposer:
    """For an image: the images of its own and of near groups, for pairs of groups that are too large to expand."""

    def __init__(
        self, members: Groups, left: Indices, right: Indices, light: NDArray[np.float32], reach: float
    ) -> None:
        """Take pairs of groups of near hashes.

        Args:
            members: images by group of equal hashes.
            left, right: pairs of groups, each pair once; a group may be paired with itself.
            light: of each image a number that differs by at most ``reach`` between images that are the same.
        """
        count = len(members.starts) - 1
        self._members, self._light, self._reach = members, light, reach
        self._group_of = np.empty(len(members.items), np.int64)
        self._group_of[members.items] = np.repeat(np.arange(count), np.diff(members.starts))
        other = left != right
        ends = np.concatenate([left, right[other]])
        order = np.argsort(ends, kind="stable")
        self._near = np.concatenate([right, left[other]])[order]
        self._near_starts = starts_of(np.bincount(ends, minlength=count))
        self.has_company: NDArray[np.bool_] = (np.diff(self._near_starts) > 0)[self._group_of]
        self._crowds: dict[int, _Crowd] = {}

    def propose(self, image: int, free: NDArray[np.bool_]) -> Indices:
        """The images that are still free and near ``image`` by this hash."""
        own = self._group_of[image]
        groups = self._near[self._near_starts[own] : self._near_starts[own + 1]]
        large = self._members.sizes(groups) > _CROWD
        members = self._members.members(groups[~large])
        parts = [members[free[members]], *(self._within_reach(int(group), image, free) for group in groups[large])]
        return np.concatenate(parts)

    def _within_reach(self, group: int, image: int, free: NDArray[np.bool_]) -> Indices:
        """Free members of about the same lightness. When many are not free any more, they are taken out for good."""
        crowd = self._crowds.get(group)
        if crowd is None:
            members = self._members.items[self._members.starts[group] : self._members.starts[group + 1]]
            members = members[np.argsort(self._light[members], kind="stable")]
            crowd = self._crowds[group] = _Crowd(members, self._light[members])
        middle = float(self._light[image])
        first, last = np.searchsorted(crowd.light, (middle - self._reach, middle + self._reach))
        window = crowd.members[first:last]
        left = window[free[window]]
        if len(window) - len(left) > max(_CROWD, len(left)):
            remaining = free[crowd.members]
            self._crowds[group] = _Crowd(crowd.members[remaining], crowd.light[remaining])
        return left


CELLS, CHANNELS = 256, 3
_BLOCK = 8192  # pairs of thumbnails compared at once
_SMALL = 64  # side in pixels up to which ``max_cell_diff`` holds unscaled: a cell is 4 × 4 pixels there
_NOISE = 8.0  # difference of one cell that compression alone can make in any image


@dataclass(frozen=True)
class Looks:
    """Images as arrays of one length n; made by ``Looks.of`` or ``read_looks``.

    Attributes:
        phash, dhash: uint64 (n,).
        thumbnails: uint8 (n, 768): 16×16 RGB; may be a memory map.
        sides: float32 (n,), the shorter side of the image in pixels.
        colours: float32 (n, 3), mean of the thumbnail.
        contrast: float32 (n,), standard deviation of the thumbnail over its cells, averaged over the channels.
    """

    phash: Hashes
    dhash: Hashes
    thumbnails: NDArray[np.uint8]
    sides: NDArray[np.float32]
    colours: NDArray[np.float32]
    contrast: NDArray[np.float32]

    @classmethod
    def of(cls, phash: Hashes, dhash: Hashes, thumbnails: NDArray[np.uint8], sides: NDArray[Any]) -> Looks:
        """Derive colours and contrast."""
        return cls(phash, dhash, thumbnails, sides.astype(np.float32), *moments(thumbnails))

    def hashes(self, settings: MatchSettings) -> list[Hashes]:
        """The hashes that propose."""
        chosen = {"phash": [self.phash], "dhash": [self.dhash], "both": [self.phash, self.dhash]}
        return chosen[settings.hash]


@dataclass(frozen=True)
class Difference:
    """How far pairs of images are apart, arrays of one length.

    Attributes:
        mean: mean absolute difference of the thumbnails, 0-255.
        cell: largest difference of one cell (mean of its channels), 0-255.
        bits: smallest Hamming distance of the proposing hashes.
        alike: whether mean and cell are small enough to be the same image.
    """

    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]
    alike: NDArray[np.bool_]

    def confirmed(self, settings: MatchSettings) -> NDArray[np.bool_]:
        """Which pairs are the same image."""
        return self.alike & (self.bits <= settings.radius)

    def of(self, chosen: NDArray[Any]) -> Difference:
        """Some of the pairs."""
        return Difference(self.mean[chosen], self.cell[chosen], self.bits[chosen], self.alike[chosen])


def difference(a: Looks, i: Indices, b: Looks, j: Indices, settings: MatchSettings) -> Difference:
    """Compare images ``i`` of ``a`` with images ``j`` of ``b``, pair by pair."""
    mean, cell = np.empty(len(i)), np.empty(len(i))
    for start in range(0, len(i), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = a.thumbnails[i[block]], b.thumbnails[j[block]]
        apart = (np.maximum(left, right) - np.minimum(left, right)).reshape(-1, CELLS, CHANNELS)
        cells = apart[:, :, 0].astype(np.uint16) + apart[:, :, 1] + apart[:, :, 2]  # faster than sum(axis=2)
        mean[block] = cells.sum(axis=1, dtype=np.uint32) / (CELLS * CHANNELS)
        cell[block] = cells.max(axis=1, initial=0) / CHANNELS
    pairs = zip(a.hashes(settings), b.hashes(settings), strict=True)
    bits = np.min([np.bitwise_count(one[i] ^ other[j]) for one, other in pairs], axis=0)
    alike = (mean <= settings.max_mean_diff) & (cell <= _largest_cell(a, i, b, j, settings))
    return Difference(mean, cell, bits.astype(np.int32), alike)


def _largest_cell(a: Looks, i: Indices, b: Looks, j: Indices, settings: MatchSettings) -> NDArray[np.float32]:
    """How much one cell may differ, pair by pair: see ``MatchSettings``."""
    by_contrast = np.minimum(a.contrast[i], b.contrast[j]) * np.float32(settings.max_contrast_diff)
    by_size = np.float32(settings.max_cell_diff * _SMALL) / np.maximum(np.minimum(a.sides[i], b.sides[j]), 1)
    return np.clip(np.maximum(by_contrast, by_size), min(_NOISE, settings.max_cell_diff), settings.max_cell_diff)


def matches(a: Looks, b: Looks, settings: MatchSettings) -> Iterator[tuple[Indices, Indices, Difference]]:
    """Blocks of confirmed pairs (into ``a``, into ``b``), every pair once."""
    hashes = list(zip(a.hashes(settings), b.hashes(settings), strict=True))
    for number, (one, other) in enumerate(hashes):
        values_a, members_a = group_equal(one)
        values_b, members_b = group_equal(other)
        for left, right in neighbours(values_a, values_b, settings.radius, same=False):
            for i, j in members_a.product_blocks(members_b, left, right):
                for first, second in hashes[:number]:  # which has proposed this pair already
                    new = np.bitwise_count(first[i] ^ second[j]) > settings.radius
                    i, j = i[new], j[new]
                apart = difference(a, i, b, j, settings)
                same = apart.confirmed(settings)
                yield i[same], j[same], apart.of(same)


def read_looks(connection: duckdb.DuckDBPyConnection, query: str, count: int, scratch: Path) -> Looks:
    """Fill a ``Looks`` from rows (rank, phash, dhash, thumbnail, width, height), ranks 0 to count - 1 in any order.

    Args:
        scratch: where the thumbnails are kept as a memory map (768 bytes an image); delete it afterwards.
    """
    scratch.parent.mkdir(parents=True, exist_ok=True)
    phash, dhash, sides = np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, np.float32)
    colours, contrast = np.zeros((count, CHANNELS), np.float32), np.zeros(count, np.float32)
    thumbnails = np.memmap(scratch, np.uint8, "w+", shape=(max(count, 1), CELLS * CHANNELS))[:count]
    for batch in query_batches(connection, query):
        rank = batch.column("rank").to_numpy()
        phash[rank], dhash[rank] = batch.column("phash").to_numpy(), batch.column("dhash").to_numpy()
        sides[rank] = np.minimum(batch.column("width").to_numpy(), batch.column("height").to_numpy())
        raw = b"".join(batch.column("thumbnail").to_pylist())
        thumbnails[rank] = made = np.frombuffer(raw, np.uint8).reshape(-1, CELLS * CHANNELS)
        colours[rank], contrast[rank] = moments(made)
    return Looks(phash, dhash, thumbnails, sides, colours, contrast)


def moments(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation over the cells; the latter averaged over the channels."""
    mean, spread = np.empty((len(thumbnails), CHANNELS), np.float32), np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        cells = thumbnails[start : start + _BLOCK].reshape(-1, CELLS, CHANNELS).astype(np.float32)
        average = cells.sum(axis=1) / CELLS
        square = np.einsum("ncr,ncr->nr", cells, cells) / CELLS
        mean[start : start + _BLOCK] = average
        spread[start : start + _BLOCK] = np.sqrt(np.maximum(square - average**2, 0)).mean(axis=1)
    return mean, spread


_EXPANDED = 256  # pairs of images that two groups of near hashes may make; more are looked at when asked for


@dataclass(frozen=True)
class Found:
    """What a search has found among the first ``count`` images.

    Attributes:
        count: images searched.
        near: int64 (m, 2), confirmed pairs i < j, in lexicographic order.
        crowds: for each proposing hash, uint64 (k, 2): pairs of near hashes with so many images that theirs are not
            expanded; a hash with itself for a crowd of equal ones. In lexicographic order.
    """

    count: int
    near: Indices
    crowds: tuple[Hashes, ...]


def search_alike(looks: Looks, settings: MatchSettings, earlier: Found | None = None) -> Found:
    """All confirmed pairs of images.

    Pairs are confirmed block by block as the search proposes them, so that memory holds those that are
    the same, not all whose hashes are near (of scanned forms that is nearly every pair). Large groups of
    equal hashes are not expanded into pairs at all.

    Args:
        earlier: of the first images of ``looks``, with the same settings; only the others are searched for then.
    """
    old = earlier.count if earlier else 0
    near = [earlier.near[:, 0], earlier.near[:, 1]] if earlier else [np.empty(0, np.int64)] * 2
    blocks: list[Pairs] = [(near[0], near[1])]
    crowds = []
    for number, hashes in enumerate(looks.hashes(settings)):
        known = earlier.crowds[number] if earlier else np.empty((0, 2), np.uint64)
        crowded: list[Pairs] = []
        values, members = group_equal(hashes)
        for i, j in _proposed(hashes, values, members, settings.radius, old, crowded):
            blocks.append(confirmed(looks, i, j, settings))
        pairs = [np.stack([values[left], values[right]], axis=1) for left, right in crowded]
        crowds.append(np.unique(np.concatenate([known, *pairs]), axis=0))
    i, j = _joined(blocks)
    cells = np.unique(np.minimum(i, j) * len(looks.phash) + np.maximum(i, j))
    pairs_found = np.stack(np.divmod(cells, max(len(looks.phash), 1)), axis=1)
    return Found(len(looks.phash), pairs_found, tuple(crowds))


def confirmed(looks: Looks, i: Indices, j: Indices, settings: MatchSettings) -> Pairs:
    """Those of the pairs that are the same image."""
    # The difference of the mean colours never exceeds that of the pixels: a cheap first look.
    apart = np.abs(looks.colours[i] - looks.colours[j]) @ np.ones(CHANNELS, np.float32)
    possible = apart <= reach(settings)
    i, j = i[possible], j[possible]
    same = difference(looks, i, looks, j, settings).confirmed(settings)
    return i[same], j[same]


def reach(settings: MatchSettings) -> float:
    """How far the summed mean colours of one image's copies can be apart, with room for rounding."""
    return CHANNELS * settings.max_mean_diff + 1e-2


def _proposed(
    hashes: Hashes, values: Hashes, members: Groups, radius: int, old: int, crowded: list[Pairs]
) -> Iterator[Pairs]:
    """Pairs of images in blocks, of which one is not ``old``; pairs of groups that would make too many are appended
    to ``crowded``."""
    sizes = np.diff(members.starts)
    touched = np.searchsorted(values, np.unique(hashes[old:])) if old else np.arange(len(values))
    large = touched[sizes[touched] ** 2 > _EXPANDED]
    crowded.append((large, large))
    # Inside the others, equal hashes are pairs too.
    small = touched[(sizes[touched] > 1) & (sizes[touched] ** 2 <= _EXPANDED)]
    for i, j in members.product_blocks(members, small, small):
        wanted = (i < j) & (j >= old)
        yield i[wanted], j[wanted]
    for left, right in _near_groups(values, touched, radius):
        many = sizes[left] * sizes[right] > _EXPANDED
        crowded.append((left[many], right[many]))
        for i, j in members.product_blocks(members, left[~many], right[~many]):
            wanted = (i >= old) | (j >= old)
            yield i[wanted], j[wanted]


def _near_groups(values: Hashes, touched: Indices, radius: int) -> Iterator[Pairs]:
    """Pairs of different groups, one of them touched, each pair once."""
    if len(touched) == len(values):
        yield from neighbours(values, values, radius, same=True)
        return
    is_touched = np.zeros(len(values), bool)
    is_touched[touched] = True
    for i, right in neighbours(values[touched], values, radius, same=False):
        left = touched[i]
        once = (left < right) | ((left > right) & ~is_touched[right])
        yield left[once], right[once]


def _joined(pairs: list[Pairs]) -> Pairs:
    return np.concatenate([i for i, _ in pairs]), np.concatenate([j for _, j in pairs])


class Alike:
    """All pairs of images that are the same image."""

    def __init__(self, looks: Looks, settings: MatchSettings, found: Found | None = None) -> None:
        """``found`` is what the search found among these images; None searches now."""
        found = search_alike(looks, settings) if found is None else found
        self.looks, self.settings = looks, settings
        ends = found.near.T.reshape(-1)
        order = np.argsort(ends, kind="stable")
        self._ends, self._near = ends[order], found.near[:, ::-1].T.reshape(-1)[order]
        self._crowded = np.zeros(len(looks.phash), bool)
        self._proposers: list[Proposer] = []
        for hashes, crowds in zip(looks.hashes(settings), found.crowds, strict=True):
            if len(crowds):
                values, members = group_equal(hashes)
                left, right = np.searchsorted(values, crowds).T
                light = looks.colours.sum(axis=1)
                self._proposers.append(Proposer(members, left, right, light, reach(settings)))
                self._crowded |= self._proposers[-1].has_company

    def with_company(self) -> Indices:
        """The images that may have copies, ascending; the others have none."""
        has_company = self._crowded.copy()
        has_company[self._ends] = True
        return np.flatnonzero(has_company)

    def of(self, image: int, free: NDArray[np.bool_]) -> Indices:
        """The images that are the same image as ``image``, of those that are still ``free``; some may come twice."""
        first, last = np.searchsorted(self._ends, (image, image + 1))
        near = self._near[first:last]
        near = near[free[near]]
        if not self._crowded[image]:
            return near
        proposed = np.concatenate([proposer.propose(image, free) for proposer in self._proposers])
        _, same = confirmed(self.looks, np.full(len(proposed), image), proposed, self.settings)
        return np.concatenate([near, same])
