"""The search for images that are the same image: all against all, or some against others.

Fingerprints (``curate.duplicates.images.fingerprints``) are compared where a hash proposes a pair. Large groups
of equal hashes are never expanded into pairs: their images are compared when a caller asks for the duplicates of one
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Groups, Hashes, Indices, Pairs, group_equal, neighbours, starts_of
from curate.duplicates.images.fingerprints import CHANNELS, ImageFingerprints, compare
from curate.settings.copies import MatchSettings

_DENSE = 256  # a group of more members is searched by their lightness


@dataclass(frozen=True)
class _DenseBucket:
    """Members of a large group of equal hashes, sorted by lightness."""

    members: Indices
    light: NDArray[np.float32]


class CandidateGenerator:
    """For an image: the images of its own and of near groups, for pairs of groups that are too large to expand."""

    def __init__(
        self, members: Groups, left: Indices, right: Indices, light: NDArray[np.float32], light_bound: float
    ) -> None:
        """Take pairs of groups of near hashes.

        Args:
            members: images by group of equal hashes.
            left, right: pairs of groups, each pair once; a group may be paired with itself.
            light: of each image a number that differs by at most ``light_bound`` between images that are the same.
        """
        count = len(members.starts) - 1
        self._members, self._light, self._light_bound = members, light, light_bound
        self._group_of = np.empty(len(members.items), np.int64)
        self._group_of[members.items] = np.repeat(np.arange(count), np.diff(members.starts))
        other = left != right
        ends = np.concatenate([left, right[other]])
        order = np.argsort(ends, kind="stable")
        self._near = np.concatenate([right, left[other]])[order]
        self._near_starts = starts_of(np.bincount(ends, minlength=count))
        self.has_candidates: NDArray[np.bool_] = (np.diff(self._near_starts) > 0)[self._group_of]
        self._dense_buckets: dict[int, _DenseBucket] = {}

    def candidates(self, image: int, free: NDArray[np.bool_]) -> Indices:
        """The images that are still free and near ``image`` by this hash."""
        own = self._group_of[image]
        groups = self._near[self._near_starts[own] : self._near_starts[own + 1]]
        large = self._members.sizes(groups) > _DENSE
        members = self._members.members(groups[~large])
        parts = [members[free[members]], *(self._of_like_lightness(int(group), image, free) for group in groups[large])]
        return np.concatenate(parts)

    def _of_like_lightness(self, group: int, image: int, free: NDArray[np.bool_]) -> Indices:
        """Free members of about the same lightness. Once many members are not free any more, they are removed."""
        bucket = self._dense_buckets.get(group)
        if bucket is None:
            members = self._members.items[self._members.starts[group] : self._members.starts[group + 1]]
            members = members[np.argsort(self._light[members], kind="stable")]
            bucket = self._dense_buckets[group] = _DenseBucket(members, self._light[members])
        middle = float(self._light[image])
        first, last = np.searchsorted(bucket.light, (middle - self._light_bound, middle + self._light_bound))
        window = bucket.members[first:last]
        left = window[free[window]]
        if len(window) - len(left) > max(_DENSE, len(left)):
            remaining = free[bucket.members]
            self._dense_buckets[group] = _DenseBucket(bucket.members[remaining], bucket.light[remaining])
        return left


_EXPANDED = 256  # pairs of images that two groups of near hashes may make; more are compared when asked for


@dataclass(frozen=True)
class SearchResult:
    """The pairs that a search has found.

    Attributes:
        near: int64 (m, 2), confirmed pairs i < j, in lexicographic order.
        dense_buckets: for each proposing hash, uint64 (k, 2), in lexicographic order: pairs of near hashes, the smaller
            first, that too many images have to expand their pairs; a hash with itself if too many images are equal in
            it. Some of their pairs may be among ``near`` too.
    """

    near: Indices
    dense_buckets: tuple[Hashes, ...]


def search_matches(fingerprints: ImageFingerprints, settings: MatchSettings) -> SearchResult:
    """All confirmed pairs of images.

    Pairs are confirmed block by block as the search proposes them, so that memory holds those that are
    the same, not all whose hashes are near (of scanned forms that is nearly every pair). Large groups of
    equal hashes are not expanded into pairs at all.
    """
    near: list[Pairs] = []
    dense: list[Hashes] = []
    for hashes in fingerprints.hashes(settings):
        values, members = group_equal(hashes)
        size = np.diff(members.starts)
        large = np.flatnonzero(size**2 > _EXPANDED)
        large_pairs = [(large, large)]
        # Inside the others, equal hashes are pairs too.
        small = np.flatnonzero((size > 1) & (size**2 <= _EXPANDED))
        for i, j in members.product_blocks(members, small, small):
            near.append(confirmed(fingerprints, i[i < j], fingerprints, j[i < j], settings))
        for left, right in neighbours(values, values, settings.radius, same=True):
            many = size[left] * size[right] > _EXPANDED
            large_pairs.append((left[many], right[many]))
            for i, j in members.product_blocks(members, left[~many], right[~many]):
                near.append(confirmed(fingerprints, i, fingerprints, j, settings))
        dense.append(np.concatenate([np.stack([values[one], values[other]], axis=1) for one, other in large_pairs]))
    return joined_results(near, [[buckets] for buckets in dense], len(fingerprints))


def search_between(a: ImageFingerprints, b: ImageFingerprints, settings: MatchSettings) -> SearchResult:
    """All confirmed pairs of an image of ``a`` and one of ``b``; those of ``b`` are numbered after those of ``a``."""
    near: list[Pairs] = []
    dense: list[list[Hashes]] = []
    for one, other in zip(a.hashes(settings), b.hashes(settings), strict=True):
        (values_a, members_a), (values_b, members_b) = group_equal(one), group_equal(other)
        size_a, size_b = np.diff(members_a.starts), np.diff(members_b.starts)
        dense.append([])
        for left, right in neighbours(values_a, values_b, settings.radius, same=False):
            many = size_a[left] * size_b[right] > _EXPANDED
            dense[-1].append(np.stack([values_a[left[many]], values_b[right[many]]], axis=1))
            for i, j in members_a.product_blocks(members_b, left[~many], right[~many]):
                i, j = confirmed(a, i, b, j, settings)
                near.append((i, j + len(a)))
    return joined_results(near, dense, len(a) + len(b))


def joined_results(near: Iterable[Pairs], dense_buckets: Iterable[Sequence[Hashes]], count: int) -> SearchResult:
    """What several searches have found, each pair once.

    Args:
        near: pairs of images, in any order.
        dense_buckets: for each proposing hash the pairs of hashes, uint64 (k, 2) each.
        count: of images.
    """
    cells = [np.empty(0, np.int64), *(np.minimum(i, j) * count + np.maximum(i, j) for i, j in near)]
    pairs = np.stack(np.divmod(np.unique(np.concatenate(cells)), max(count, 1)), axis=1)
    none = np.empty((0, 2), np.uint64)
    buckets = (np.unique(np.sort(np.concatenate([none, *some]), axis=1), axis=0) for some in dense_buckets)
    return SearchResult(pairs, tuple(buckets))


def confirmed(a: ImageFingerprints, i: Indices, b: ImageFingerprints, j: Indices, settings: MatchSettings) -> Pairs:
    """Those of the pairs of an image of ``a`` and one of ``b`` that are the same image."""
    # The mean colours never differ by more than the pixels do: a cheap first test.
    difference = np.abs(a.colors[i] - b.colors[j]) @ np.ones(CHANNELS, np.float32)
    possible = difference <= mean_color_bound(settings)
    i, j = i[possible], j[possible]
    same = compare(a, i, b, j, settings).confirmed(settings)
    return i[same], j[same]


def mean_color_bound(settings: MatchSettings) -> float:
    """How much the summed mean colours of two images can differ that are the same, with room for rounding."""
    return CHANNELS * settings.max_mean_diff + 1e-2


class DuplicateIndex:
    """Answers which images are the same image as a given one: from the pairs found, and from dense buckets on demand.

    Attributes:
        fingerprints: of all images.
        settings: when two images count as the same one.
        near: int64 (m, 2), the pairs that were found, i < j; not all of those of images of dense buckets.
    """

    def __init__(
        self, fingerprints: ImageFingerprints, settings: MatchSettings, result: SearchResult | None = None
    ) -> None:
        """``result`` is of a search among these images; None searches now."""
        result = search_matches(fingerprints, settings) if result is None else result
        self.fingerprints, self.settings, self.near = fingerprints, settings, result.near
        ends = result.near.T.reshape(-1)
        order = np.argsort(ends, kind="stable")
        self._ends, self._near = ends[order], result.near[:, ::-1].T.reshape(-1)[order]
        self._in_dense_bucket = np.zeros(len(fingerprints), bool)
        self._generators: list[CandidateGenerator] = []
        for hashes, dense_buckets in zip(fingerprints.hashes(settings), result.dense_buckets, strict=True):
            if len(dense_buckets):
                values, members = group_equal(hashes)
                left, right = np.searchsorted(values, dense_buckets).T
                light = fingerprints.colors.sum(axis=1)
                generator = CandidateGenerator(members, left, right, light, mean_color_bound(settings))
                self._generators.append(generator)
                self._in_dense_bucket |= generator.has_candidates

    def with_candidates(self) -> Indices:
        """The images that may have duplicates, ascending; the others have none."""
        has_candidates = self._in_dense_bucket.copy()
        has_candidates[self._ends] = True
        return np.flatnonzero(has_candidates)

    def in_dense_buckets(self) -> Indices:
        """The images some pairs of which are only found on demand, ascending."""
        return np.flatnonzero(self._in_dense_bucket)

    def duplicates_of(self, image: int, free: NDArray[np.bool_]) -> Indices:
        """The images that are the same image as ``image``, of those that are still ``free``; some may come twice."""
        first, last = np.searchsorted(self._ends, (image, image + 1))
        near = self._near[first:last]
        near = near[free[near]]
        if not self._in_dense_bucket[image]:
            return near
        candidates = np.concatenate([generator.candidates(image, free) for generator in self._generators])
        alone = np.full(len(candidates), image)
        _, same = confirmed(self.fingerprints, alone, self.fingerprints, candidates, self.settings)
        return np.concatenate([near, same])
