"""Large groups of equal hashes: their images are proposed when asked for, never expanded into pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Groups, Indices, starts_of

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
            light: of each image a number that differs by at most ``reach`` between pictures that are the same.
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
