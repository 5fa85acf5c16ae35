"""The search for edited copies: toned, brighter, mirrored, cropped, framed, overlaid or turned.

Words of keypoints propose a pair (``curate.signals.keypoints``) and how one image lies in the other; the two views
are laid over each other (``curate.duplicates.edits.alignment``), and enough structure in common confirms the pair.
What was done to one of them is read off the map, the tones and the blocks that differ
(``curate.duplicates.edits.edit_kinds``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.edits.alignment import Laid, glance, lay, overlap
from curate.duplicates.edits.edit_kinds import kind_of
from curate.duplicates.edits.looks import Looks
from curate.duplicates.edits.word_index import WordIndex, indexes_of, matches
from curate.duplicates.hamming import Indices, products
from curate.kinds import KINDS, Kind, KindPairs
from curate.signals.keypoints import KEY_BITS, MIRROR, PROBED, SIDE, STEPS, Floats

_IMAGES = 512  # searched for at once
_CONTEXT = 6  # bits of the words' upper half that may differ
_TRIED = 4  # matches of a pair of images whose maps are tried
_LIES = 0.5  # share of one of them that lies in the other by a rough map
_GLANCE = 0.3
_LAID = 128  # pairs laid over each other at once
_TOGETHER, _MOST = 8, 64  # candidates of an image that are laid over it at once, and at all

Limited = Callable[[int], object]
# Images of ``b`` and of ``a``, whether the latter is mirrored, and a rough map of the latter to the former.
_Candidates = tuple[Indices, Indices, NDArray[np.bool_], Floats]


def _nobody_asks(_: int) -> None: ...


def edited_pairs(
    looks: Looks, kinds: Collection[Kind], earlier: int | None = None, limited: Limited = _nobody_asks
) -> Iterator[KindPairs]:
    """Blocks of pairs of images of one set that are copies of these kinds, i < j, each pair once.

    A pair gets one kind: that of the edit that changes most (turned, mirrored, framed, cropped, overlaid, toned,
    brighter, resized, re-encoded, in this order). It is yielded if that kind is among ``kinds``. ``exact`` and
    ``semantic`` are never found here. Of more than 64 images that share a word each is compared with the first 64, so
    that a crowd of copies is tied to its first ones. The pairs depend on the images alone, not on ``earlier``.

    Each image is laid over the 8 earlier ones that are most like it by their keypoints; while one of these is a copy,
    over the next 8, and over 64 at most. Pictures of one pattern have points in common with all others, and would else
    all be laid over each other.

    Args:
        kinds: the kinds to look for.
        earlier: how many of the first images were searched already; only pairs with a later one are yielded.
        limited: told how many images there are that were not laid over all that share points with them.
    """
    yield from _search(looks, looks, kinds, earlier or 0, limited, within=True)


def edited_pairs_between(
    a: Looks, b: Looks, kinds: Collection[Kind], limited: Limited = _nobody_asks
) -> Iterator[KindPairs]:
    """Blocks of pairs of an image ``i`` of ``a`` and an image ``j`` of ``b`` that are copies of these kinds.

    Of more than 64 images of ``b`` that share a word, each of ``a`` is compared with the first 64.
    Each is laid over so many of ``b`` as ``edited_pairs`` lays an image over earlier ones.
    """
    for found in _search(b, a, kinds, 0, limited, within=False):
        order = np.lexsort((found.j, found.i))
        yield KindPairs(found.j[order], found.i[order], found.kind[order], found.strength[order])


def _search(
    b: Looks, a: Looks, kinds: Collection[Kind], first: int, limited: Limited, *, within: bool
) -> Iterator[KindPairs]:
    """Pairs (of ``b``, of ``a``); ``within`` both are the same, and those of ``b`` come earlier."""
    wanted = np.array([KINDS.index(kind) for kind in kinds], np.uint8)
    indexes = indexes_of(b)
    for start in range(first, len(a), _IMAGES):
        found = _candidates(indexes, b, a, start, min(start + _IMAGES, len(a)), within=within)
        for pairs in _most_alike(b, a, found, limited):
            chosen = np.isin(pairs.kind, wanted)
            if chosen.any():
                yield KindPairs(pairs.i[chosen], pairs.j[chosen], pairs.kind[chosen], pairs.strength[chosen])


def _most_alike(b: Looks, a: Looks, candidates: _Candidates, limited: Limited) -> Iterator[KindPairs]:
    """The copies among the candidates of some images; those of an image come by how alike they seem."""
    i, j, flag, map_ = candidates
    place = np.arange(len(j)) - np.searchsorted(j, j)
    laid = np.zeros(len(j), bool)
    asking = np.unique(j)
    for first in range(0, _MOST, _TOGETHER):
        turn = np.flatnonzero((place >= first) & (place < first + _TOGETHER) & np.isin(j, asking))
        if not len(turn):
            break
        pairs = _confirmed(b, a, i[turn], j[turn], flag[turn], map_[turn])
        yield pairs
        laid[turn] = True
        asking = pairs.j
    limited(len(np.unique(j[~laid])))


def _candidates(
    indexes: Sequence[WordIndex], b: Looks, a: Looks, start: int, stop: int, *, within: bool
) -> _Candidates:
    """Images of ``b`` and of ``a``, whether the latter is mirrored, and a rough map of the latter to the former."""
    points = np.asarray(a.points[a.starts[start] : a.starts[stop]])
    image = np.repeat(np.arange(start, stop), np.diff(a.starts[start : stop + 1]))
    flips = np.zeros((len(points), 1), np.uint32)
    for bit in range(PROBED):
        flips = np.concatenate(
            [flips, flips ^ (np.uint32(1) << points["unsure"][:, bit : bit + 1].astype(np.uint32))], 1
        )
    words = np.stack([points["word"], points["word"] ^ MIRROR])
    keys = words.astype(np.uint32)[:, :, None] ^ flips
    which, other, found = matches(indexes, keys, a.starts[image] if within else None)
    rest = (words >> np.uint64(KEY_BITS)).astype(np.uint32).reshape(-1)
    near = np.bitwise_count(rest[which // flips.shape[1]] ^ found) <= _CONTEXT
    which, other = which[near], other[near]
    order = np.lexsort((other, which, keys.reshape(-1)[which]))  # whichever index they come from
    which, other = which[order] // flips.shape[1], other[order]
    mirrored, point = which >= len(points), which % max(len(points), 1)
    i, j = np.searchsorted(b.starts, other, side="right") - 1, image[point]
    looked = np.flatnonzero(~(a.paper[j] & b.paper[i]))
    i, j, point, other, mirrored = (values[looked] for values in (i, j, point, other, mirrored))
    place, target = points["place"][point] / STEPS, b.points["place"][other] / STEPS
    place[:, 0] = np.where(mirrored, a.shapes[j, 1] - 1.0 - place[:, 0], place[:, 0])
    ratio = target[:, 2] / place[:, 2]
    map_ = np.zeros((len(point), 2, 3), np.float32)
    map_[:, 0, 0] = map_[:, 1, 1] = ratio
    map_[:, :, 2] = target[:, :2] - ratio[:, None] * place[:, :2]
    # A rough map may be somewhat off; what lies in the other by less than this is no copy that could be confirmed.
    box = overlap(map_, a.shapes[j], b.shapes[i])
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    sizes = [(looks.shapes[of].astype(np.float32) - 1).prod(axis=1) for looks, of in ((a, j), (b, i))]
    lies = np.maximum(area / sizes[0], area * ratio**2 / sizes[1]) > _LIES
    return _best(b, a, *(values[lies] for values in (i, j, mirrored, map_, place[:, :2])))


def _best(
    b: Looks, a: Looks, i: Indices, j: Indices, flag: NDArray[np.bool_], map_: Floats, place: Floats
) -> _Candidates:
    """Of each pair of images the map that most of its matches share; among equals that of the best correlation.

    By ``j``, the pairs with the best maps first.
    """
    order = np.lexsort((map_[:, 0, 2], map_[:, 0, 0], flag, i, j))
    i, j, flag, map_, place = i[order], j[order], flag[order], map_[order], place[order]
    new = np.concatenate([[True], (np.diff(i) != 0) | (np.diff(j) != 0) | (np.diff(flag.astype(np.int8)) != 0)])
    new = new[: len(i)]
    starts = np.append(np.flatnonzero(new), len(i))
    groups = np.arange(len(starts) - 1)
    votes = np.zeros(len(i))
    small = groups[np.diff(starts) <= SIDE]
    one, other = products(starts, small, starts, small)
    moved = map_[one, 0, 0][:, None] * place[other] + map_[one, :, 2]
    target = map_[other, 0, 0][:, None] * place[other] + map_[other, :, 2]
    scale = np.abs(np.log2(map_[one, 0, 0] / map_[other, 0, 0]))
    votes += np.bincount(one, (np.abs(moved - target).max(axis=1) < 4) & (scale < 0.4), len(i))
    order = np.lexsort((-votes, np.cumsum(new)))
    rank = np.arange(len(i)) - np.repeat(starts[:-1], np.diff(starts))
    order = order[rank < _TRIED]
    seen = np.zeros(len(order), np.float32)
    for block in range(0, len(order), 1024):
        some = order[block : block + 1024]
        seen[block : block + 1024] = glance(map_[some], (a, j[some]), (b, i[some]), flag[some])
    # A map of many votes needs no glance.
    value = np.where(votes[order] > 2, 1 + votes[order] / 100, seen) + seen / 1000
    keep = np.lexsort((-value, i[order], j[order]))
    pair = np.stack([i[order[keep]], j[order[keep]]])
    lead = np.concatenate([[True], (np.diff(pair, axis=1) != 0).any(axis=0)])[: pair.shape[1]]
    keep = keep[lead]
    keep = keep[value[keep] > _GLANCE]
    keep = order[keep[np.lexsort((i[order[keep]], -value[keep], j[order[keep]]))]]
    return i[keep], j[keep], flag[keep], map_[keep]


def _views(
    b: Looks, a: Looks, i: Indices, j: Indices, flag: NDArray[np.bool_]
) -> tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Views and shapes of images ``j`` of ``a``, mirrored where ``flag`` says so, and of images ``i`` of ``b``."""
    first, shapes = np.asarray(a.views[j]), a.shapes[j]
    columns = np.arange(SIDE)
    back = np.clip(shapes[:, 1:].astype(np.int64) - 1 - columns, 0, SIDE - 1)
    first = np.where(flag[:, None, None], np.take_along_axis(first, back[:, None, :], axis=2), first)
    return (first, np.asarray(b.views[i])), (shapes, b.shapes[i])


def _confirmed(b: Looks, a: Looks, i: Indices, j: Indices, flag: NDArray[np.bool_], map_: Floats) -> KindPairs:
    blocks = []
    for block in range(0, len(i), _LAID):
        some = slice(block, block + _LAID)
        views, shapes = _views(b, a, i[some], j[some], flag[some])
        laid = lay(map_[some], views, shapes)
        same = is_copy(laid)
        kind = kind_of(laid, views, shapes, flag[some], (a, j[some]), (b, i[some]))
        blocks.append((i[some][same], j[some][same], kind[same], laid.alike[same]))
    if not blocks:
        return KindPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.float32))
    return KindPairs(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))


_AGREEING, _SHARE, _INSIDE, _ALIKE = 14, 0.6, 0.6, 0.6


def is_copy(laid: Laid) -> NDArray[np.bool_]:
    """Whether enough structure agrees, and one of the two lies in the other without being bent."""
    bend = laid.map[:, :, :2]
    sides = np.linalg.norm(bend, axis=1)
    straight = (np.maximum(*sides.T) < 1.6 * np.minimum(*sides.T)) & (sides.min(axis=1) > 0.2) & (sides.max(axis=1) < 5)
    level = (np.abs(bend[:, 0, 1]) < 0.2 * sides[:, 1]) & (np.abs(bend[:, 1, 0]) < 0.2 * sides[:, 0])
    enough = (laid.agreeing >= _AGREEING) & (laid.agreeing >= _SHARE * laid.textured) & (laid.alike >= _ALIKE)
    made: NDArray[np.bool_] = enough & straight & level & (laid.inside.max(axis=1) >= _INSIDE)
    return made
