"""Groups of near-identical images as stars: every member is confirmed against its representative.

Single-link groups drift (A like B, B like C, C unlike A); stars do not. Images come in keep-best
order; each either belongs to the first representative that it is confirmed against, or becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Hashes, Indices, group_equal
from curate.duplicates.looks import CELLS, CHANNELS, Looks, difference
from curate.duplicates.search import neighbours
from curate.recipe import MatchSettings

_CROWD = 256  # groups of more equal hashes are thinned as their members are claimed


@dataclass(frozen=True)
class Stars:
    """Arrays of one length n, in the order of the images given.

    Attributes:
        representative: index of the representative; its own for a representative.
        mean, cell, bits: distances to it (``looks.Difference``), 0 for a representative.
    """

    representative: Indices
    mean: NDArray[np.float64]
    cell: NDArray[np.float64]
    bits: NDArray[np.int32]


class _Proposer:
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


def build_stars(looks: Looks, settings: MatchSettings) -> Stars:
    """Group images; ``looks`` is in keep-best order, so that a representative is the best of its star."""
    count = len(looks.phash)
    representative = np.arange(count)
    mean, cell, bits = np.zeros(count), np.zeros(count), np.zeros(count, np.int32)
    proposers = [_Proposer(hashes, settings.radius) for hashes in looks.hashes(settings)]
    free = np.ones(count, bool)
    colours = _mean_colours(looks.thumbnails)
    # All earlier images that have company are done when an image is reached, so only later ones are free.
    for image in np.flatnonzero(np.any([proposer.has_company for proposer in proposers], axis=0)):
        if not free[image]:
            continue
        free[image] = False
        near = np.concatenate([proposer.propose(int(image), free) for proposer in proposers])
        # The difference of the mean colours never exceeds that of the pixels: a cheap first look.
        apart_by = np.abs(colours[near] - colours[image]) @ np.ones(CHANNELS, np.float32)
        near = near[apart_by <= CHANNELS * settings.confirm + 1e-2]
        if not len(near):
            continue
        apart = difference(looks, np.full(len(near), image), looks, near, settings)
        same = apart.confirmed(settings)
        members = near[same]
        representative[members] = image
        mean[members], cell[members], bits[members] = apart.mean[same], apart.cell[same], apart.bits[same]
        free[members] = False
    return Stars(representative, mean, cell, bits)


def _mean_colours(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    blocks = [
        thumbnails[start : start + 65_536].reshape(-1, CELLS, CHANNELS).mean(axis=1, dtype=np.float32)
        for start in range(0, len(thumbnails), 65_536)
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, CHANNELS), np.float32)
