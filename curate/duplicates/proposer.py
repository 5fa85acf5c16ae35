"""Which images may be the same as a given one, by one of their hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Hashes, Indices, group_equal
from curate.duplicates.search import neighbours

_CROWD = 256  # groups of more equal hashes are thinned as their members are claimed


class Proposer:
    """For an image: the images whose hash is within the radius. Equal hashes are never expanded into pairs."""

    def __init__(self, hashes: Hashes, radius: int) -> None:
        values, self._groups = group_equal(hashes)
        self._sizes = np.diff(self._groups.starts)
        self._group_of = np.empty(len(hashes), np.int64)
        self._group_of[self._groups.items] = np.repeat(np.arange(len(values)), self._sizes)
        found = list(neighbours(values, values, radius, same=True))
        own = np.arange(len(values))
        left = np.concatenate([own, *(i for i, _ in found), *(j for _, j in found)])
        right = np.concatenate([own, *(j for _, j in found), *(i for i, _ in found)])
        order = np.argsort(left, kind="stable")
        self._near = right[order]
        self._near_starts = np.concatenate([[0], np.cumsum(np.bincount(left, minlength=len(values)))])
        has_company = (self._sizes > 1) | (np.diff(self._near_starts) > 1)
        self.has_company: NDArray[np.bool_] = has_company[self._group_of]
        self._thinned: dict[int, Indices] = {}

    def propose(self, image: int, free: NDArray[np.bool_]) -> Indices:
        """The images that are still free and near ``image`` by this hash."""
        own = self._group_of[image]
        groups = self._near[self._near_starts[own] : self._near_starts[own + 1]]
        large = self._sizes[groups] > _CROWD
        small = groups[~large]
        sizes = self._sizes[small]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
        members = self._groups.items[np.repeat(self._groups.starts[small], sizes) + within]
        parts = [members[free[members]], *(self._thin(int(group), free) for group in groups[large])]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _thin(self, group: int, free: NDArray[np.bool_]) -> Indices:
        """The free members of a large group; those that are not will not be looked at again."""
        members = self._thinned.get(group)
        if members is None:
            members = self._groups.items[self._groups.starts[group] : self._groups.starts[group + 1]]
        self._thinned[group] = members = members[free[members]]
        return members
