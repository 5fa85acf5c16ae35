"""The search for images that are the same picture: all against all, or what is new against all.

What it finds does not depend on the way there: a search that goes on where an earlier one ended holds the
same pairs as one from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate.duplicates.groups import Groups, Hashes, Indices, Pairs, group_equal
from curate.duplicates.hamming import neighbours
from curate.duplicates.looks import CHANNELS, Looks, difference
from curate.recipe import MatchSettings

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
    """Those of the pairs that are the same picture."""
    # The difference of the mean colours never exceeds that of the pixels: a cheap first look.
    apart = np.abs(looks.colours[i] - looks.colours[j]) @ np.ones(CHANNELS, np.float32)
    possible = apart <= reach(settings)
    i, j = i[possible], j[possible]
    same = difference(looks, i, looks, j, settings).confirmed(settings)
    return i[same], j[same]


def reach(settings: MatchSettings) -> float:
    """How far the summed mean colours of one picture's copies can be apart, with room for rounding."""
    return CHANNELS * settings.confirm + 1e-2


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
