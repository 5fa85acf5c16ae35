"""Which images are the same picture as a given one: from the pairs found, and from crowds as they are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Indices, group_equal
from curate.duplicates.looks import Looks
from curate.duplicates.matching import Found, confirmed, reach, search_alike
from curate.duplicates.proposer import Proposer
from curate.recipe import MatchSettings


class Alike:
    """All pairs of images that are the same picture."""

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
        """The images that are the same picture as ``image``, of those that are still ``free``; some may come twice."""
        first, last = np.searchsorted(self._ends, (image, image + 1))
        near = self._near[first:last]
        near = near[free[near]]
        if not self._crowded[image]:
            return near
        proposed = np.concatenate([proposer.propose(image, free) for proposer in self._proposers])
        _, same = confirmed(self.looks, np.full(len(proposed), image), proposed, self.settings)
        return np.concatenate([near, same])
