"""Near-identical images joined to the end: whoever is alike, directly or through others, is in one component.

Stars (``curate.duplicates.clusters``) say which row is kept in place of which, so they must not chain.
Splits are the other way round: two pictures that are alike must not part, whatever star they are in.
"""

from __future__ import annotations

import numpy as np

from curate.duplicates.alike import Alike
from curate.duplicates.groups import Indices


def build_components(alike: Alike, images: Indices) -> Indices:
    """For each image the first index of its component, int64 (n,); its own for one that is not among ``images``.

    Every image is compared with those that its hashes propose and that no component has yet, so a
    million copies of one picture cost a million comparisons, not a million squared.

    Args:
        images: the images that take part.
    """
    component = np.arange(len(alike.looks.phash))
    free = np.zeros(len(component), bool)
    free[images] = True
    for first in alike.with_company().tolist():
        if not free[first]:
            continue
        free[first] = False
        reached = [first]
        while reached:
            members = np.unique(alike.of(reached.pop(), free))
            component[members] = first
            free[members] = False
            reached.extend(members.tolist())
    return component
