"""Groups of near-identical images as stars: every member is confirmed against its representative.

Single-link groups drift (A like B, B like C, C unlike A); stars do not. Images come in keep-best
order; each either belongs to the first representative that it is confirmed against, or becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Indices
from curate.duplicates.looks import CHANNELS, Looks, difference
from curate.duplicates.proposer import Proposer
from curate.recipe import MatchSettings


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


def build_stars(looks: Looks, settings: MatchSettings) -> Stars:
    """Group images; ``looks`` is in keep-best order, so that a representative is the best of its star."""
    count = len(looks.phash)
    representative = np.arange(count)
    mean, cell, bits = np.zeros(count), np.zeros(count), np.zeros(count, np.int32)
    proposers = [Proposer(hashes, settings.radius) for hashes in looks.hashes(settings)]
    free = np.ones(count, bool)
    # All earlier images that have company are done when an image is reached, so only later ones are free.
    for image in np.flatnonzero(np.any([proposer.has_company for proposer in proposers], axis=0)):
        if not free[image]:
            continue
        free[image] = False
        near = np.concatenate([proposer.propose(int(image), free) for proposer in proposers])
        # The difference of the mean colours never exceeds that of the pixels: a cheap first look.
        apart_by = np.abs(looks.colours[near] - looks.colours[image]) @ np.ones(CHANNELS, np.float32)
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
