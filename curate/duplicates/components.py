"""Near-identical images joined to the end: whoever is alike, directly or through others, is in one component.

Stars (``curate.duplicates.stars``) say which row is kept in place of which, so they must not chain.
Splits are the other way round: two pictures that are alike must not part, whatever star they are in.
"""

from __future__ import annotations

import numpy as np

from curate.duplicates.groups import Indices
from curate.duplicates.looks import Looks, difference
from curate.duplicates.proposer import Proposer
from curate.recipe import MatchSettings


def build_components(looks: Looks, settings: MatchSettings) -> Indices:
    """For each image the smallest index of its component, int64 (n,).

    Every image is compared with those that its hashes propose and that no component has yet, so a
    million copies of one picture cost a million comparisons, not a million squared.
    """
    count = len(looks.phash)
    component = np.arange(count)
    proposers = [Proposer(hashes, settings.radius) for hashes in looks.hashes(settings)]
    free = np.ones(count, bool)
    for first in np.flatnonzero(np.any([proposer.has_company for proposer in proposers], axis=0)):
        if not free[first]:
            continue
        free[first] = False
        reached = [int(first)]
        while reached:
            image = reached.pop()
            near = np.unique(np.concatenate([proposer.propose(image, free) for proposer in proposers]))
            apart = difference(looks, np.full(len(near), image), looks, near, settings)
            members = near[apart.confirmed(settings)]
            component[members] = first
            free[members] = False
            reached.extend(members.tolist())
    return component
