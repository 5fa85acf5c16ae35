"""Texts that are nearly the same: MinHash proposes pairs, the exact Jaccard index of their shingles confirms them.

Broder, *On the resemblance and containment of documents*, 1997; banding as in Leskovec, Rajaraman and Ullman, *Mining
of Massive Datasets*, chapter 3. Memory holds about 350 bytes a text; the shingles lie on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.texts.shingles import Shingles, confirm
from curate.duplicates.texts.signatures import Signatures, likely, neighbours, signatures_of

_PAIRS_AT_ONCE = 1 << 18
_ENOUGH = 16  # a text that has so many pairs is compared with no more texts of other buckets


@dataclass(frozen=True)
class TextPairs:
    """Pairs of texts that are alike, arrays of one length, by ``j`` and then ``i``.

    Attributes:
        i, j: int64, indices of the texts; each pair once, with i < j.
        jaccard: float64, 0 to 1.
    """

    i: Indices
    j: Indices
    jaccard: NDArray[np.float64]


def similar_pairs(shingles: Shingles, threshold: float, left: int | None = None) -> TextPairs:
    """Pairs whose Jaccard index is at least ``threshold`` and that name the same numbers.

    No pair below the threshold is found; of those at it at least 99.5%, of those above it more. In a bucket of more
    than 9 texts, each is compared with the first 4 and the last 4 before it, and with none if 16 or more pairs of
    it with earlier texts are known from other buckets.

    Args:
        left: only pairs of one of the first ``left`` texts with one of the others.
    """
    signatures = signatures_of(shingles, threshold)
    if left is None:
        return pairs_where(shingles, signatures, threshold, lambda i, j: np.ones(len(j), bool))
    return pairs_where(shingles, signatures, threshold, lambda i, j: (i < left) & (j >= left))


def pairs_where(
    shingles: Shingles, signatures: Signatures, threshold: float, asked: Callable[[Indices, Indices], NDArray[np.bool_]]
) -> TextPairs:
    """``similar_pairs`` among proposed pairs i < j that are asked for.

    The pairs of a text ``j`` depend on the texts that each band proposes to it, and on nothing else.
    """
    known, jaccard = np.empty(0, np.uint64), np.empty(0)
    partners = np.zeros(len(shingles), np.int64)
    for bucket in signatures.buckets:
        codes, indices = [known], [jaccard]
        for i, j in _portions(bucket, asked):
            open_ = partners[j] < _ENOUGH
            code = np.sort(_code(i[open_], j[open_]))
            new = _pair(code[~_contains(known, code)])
            i, j, index = confirm(shingles, *likely(signatures.sketches, *new, threshold), threshold)
            codes.append(_code(i, j))
            indices.append(index)
        if sum(map(len, codes)) > len(known):
            known, jaccard = np.concatenate(codes), np.concatenate(indices)
            order = np.argsort(known, kind="stable")  # each pair is there once
            known, jaccard = known[order], jaccard[order]
            partners = np.bincount(_pair(known)[1], minlength=len(shingles))
    return TextPairs(*_pair(known), jaccard)


def ordered_pairs(*several: TextPairs) -> TextPairs:
    """All pairs, in their order."""
    i, j = (np.concatenate([getattr(pairs, name) for pairs in several]) for name in ("i", "j"))
    order = np.argsort(_code(i, j))
    return TextPairs(i[order], j[order], np.concatenate([pairs.jaccard for pairs in several])[order])


def _portions(
    bucket: NDArray[np.uint32], asked: Callable[[Indices, Indices], NDArray[np.bool_]]
) -> Iterator[tuple[Indices, Indices]]:
    """Pairs that are asked for, of those that a band proposes."""
    for i, j in neighbours(bucket):
        chosen = np.flatnonzero(asked(i, j))
        for start in range(0, len(chosen), _PAIRS_AT_ONCE):
            part = chosen[start : start + _PAIRS_AT_ONCE]
            yield i[part], j[part]


def _code(i: Indices, j: Indices) -> NDArray[np.uint64]:
    """One number for a pair; they ascend by j, then i."""
    return j.astype(np.uint64) << np.uint64(32) | i.astype(np.uint64)


def _pair(code: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    return (code & np.uint64(0xFFFFFFFF)).astype(np.int64), (code >> np.uint64(32)).astype(np.int64)


def _contains(ascending: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.searchsorted(ascending, values)
    return np.asarray(ascending[np.minimum(at, len(ascending) - 1)] == values)


def text_stars(pairs: TextPairs, shingles: Shingles, threshold: float) -> tuple[Indices, NDArray[np.float64]]:
    """For each text the first one that stands for it, itself for most; and its Jaccard index with that one.

    Groups are stars as those of images are (``curate.duplicates.images.clusters``): each text belongs to the first text
    that it is alike and that belongs to no other. A text whose neighbours all belong to another one is compared with
    that one too, so that little is lost in a bucket that was not compared whole.
    """
    code, jaccard = _code(pairs.i, pairs.j), pairs.jaccard
    while True:
        star = _assigned(code, len(shingles))
        i, j = _pair(code)
        lost = (star[j] == j) & (star[i] != i)
        asked = np.unique(_code(star[i[lost]], j[lost]))
        i, j, more = confirm(shingles, *_pair(asked[~_contains(code, asked)]), threshold)
        if not len(i):
            break
        code, jaccard = np.concatenate([code, _code(i, j)]), np.concatenate([jaccard, more])
        order = np.argsort(code, kind="stable")
        code, jaccard = code[order], jaccard[order]
    similarity = np.ones(len(shingles))
    member = np.flatnonzero(star != np.arange(len(star)))
    similarity[member] = jaccard[np.searchsorted(code, _code(star[member], member))]
    return star, similarity


def _assigned(code: NDArray[np.uint64], count: int) -> Indices:
    """For each text the first of its earlier partners that belongs to no other text; itself without one."""
    i, j = _without_members(*_pair(code), count)
    star = np.arange(count)
    for at in range(0, len(i), _PAIRS_AT_ONCE):
        portion = slice(at, at + _PAIRS_AT_ONCE)
        for first, text in zip(i[portion].tolist(), j[portion].tolist(), strict=True):
            if star[text] == text and star[first] == first:
                star[text] = first
    return star


def _without_members(i: Indices, j: Indices, count: int) -> tuple[Indices, Indices]:
    """Pairs without most of those whose first text surely belongs to another one, and so stands for none."""
    while True:
        alone = np.ones(count, bool)
        alone[j] = False
        member = np.zeros(count, bool)
        member[j[alone[i]]] = True
        stays = np.flatnonzero(~member[i])
        if len(stays) >= 0.9 * len(i):  # of chains each round takes few: the rest is left to the caller
            return i, j
        i, j = i[stays], j[stays]
