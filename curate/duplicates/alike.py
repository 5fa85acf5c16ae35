"""Which images are the same picture as a given one: proposed by a hash, confirmed by the thumbnail."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Groups, Hashes, Indices, Pairs, group_equal, starts_of
from curate.duplicates.looks import CHANNELS, Looks, difference
from curate.duplicates.proposer import Proposer
from curate.duplicates.search import neighbours
from curate.recipe import MatchSettings

_EXPANDED = 256  # pairs of images that two groups of near hashes may make; more are looked at when asked for


class Alike:
    """All pairs of images that are the same picture.

    Pairs are confirmed block by block as the search proposes them, so that memory holds those that are
    the same, not all whose hashes are near (of scanned forms that is nearly every pair). Large groups of
    equal hashes are not expanded into pairs at all.
    """

    def __init__(self, looks: Looks, settings: MatchSettings) -> None:
        self._looks, self._settings = looks, settings
        self._reach = CHANNELS * settings.confirm + 1e-2
        light = looks.colours.sum(axis=1)
        count = len(looks.phash)
        self._proposers: list[Proposer] = []
        near: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for hashes in looks.hashes(settings):
            values, members = group_equal(hashes)
            crowds: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
            for i, j in _expanded(values, members, settings.radius, crowds):
                near.append(self._confirmed(i, j))
            left, right = _joined(crowds)
            self._proposers.append(Proposer(members, left, right, light, self._reach))
        first, second = _joined(near)
        ends = np.concatenate([first, second])
        self._near = np.concatenate([second, first])[np.argsort(ends, kind="stable")]
        self._starts = starts_of(np.bincount(ends, minlength=count))
        crowded = [proposer.has_company for proposer in self._proposers]
        self._crowded: NDArray[np.bool_] = np.any(crowded, axis=0)

    def with_company(self) -> Indices:
        """The images that may have copies, ascending; the others have none."""
        return np.flatnonzero(self._crowded | (np.diff(self._starts) > 0))

    def of(self, image: int, free: NDArray[np.bool_]) -> Indices:
        """The images that are the same picture as ``image``, of those that are still ``free``; some may come twice."""
        near = self._near[self._starts[image] : self._starts[image + 1]]
        near = near[free[near]]
        if not self._crowded[image]:
            return near
        proposed = np.concatenate([proposer.propose(image, free) for proposer in self._proposers])
        _, confirmed = self._confirmed(np.full(len(proposed), image), proposed)
        return np.concatenate([near, confirmed])

    def _confirmed(self, i: Indices, j: Indices) -> Pairs:
        # The difference of the mean colours never exceeds that of the pixels: a cheap first look.
        colours = self._looks.colours
        possible = np.abs(colours[i] - colours[j]) @ np.ones(CHANNELS, np.float32) <= self._reach
        i, j = i[possible], j[possible]
        same = difference(self._looks, i, self._looks, j, self._settings).confirmed(self._settings)
        return i[same], j[same]


def _expanded(values: Hashes, members: Groups, radius: int, crowds: list[Pairs]) -> Iterator[Pairs]:
    """Pairs of images in blocks; pairs of groups that would make too many are appended to ``crowds``."""
    sizes = np.diff(members.starts)
    large = np.flatnonzero(sizes**2 > _EXPANDED)
    crowds.append((large, large))
    # Inside the others, equal hashes are pairs too.
    small = np.flatnonzero((sizes > 1) & (sizes**2 <= _EXPANDED))
    for i, j in members.product_blocks(members, small, small):
        ordered = i < j
        yield i[ordered], j[ordered]
    for left, right in neighbours(values, values, radius, same=True):
        many = sizes[left] * sizes[right] > _EXPANDED
        crowds.append((left[many], right[many]))
        yield from members.product_blocks(members, left[~many], right[~many])


def _joined(pairs: list[Pairs]) -> Pairs:
    return np.concatenate([i for i, _ in pairs]), np.concatenate([j for _, j in pairs])
