"""Pieces of a text, hashed, and what those of each of its windows weigh.

An instruction may be one sentence of many, so a text is looked at through windows. What a window weighs is the sum of
the weights of its pieces over the square root of their number. Pieces are runs of 2 to 5 characters, spaces
included, single words, and pairs of words that follow each other; each belongs to the window in which it begins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.guard.normalise import folded
from serving.guard.views import spaced

RUNS = (2, 3, 4, 5)
WINDOWS = ((48, 16), (144, 48))  # characters of a window, and from one to the next
BUCKETS = 1 << 18
_BASE, _MIX = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x100000001B3, -1, 1 << 64))
_WORD, _PAIR = 1, 6  # kinds of pieces beside the lengths of runs

Buckets = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]


def words_of(seen: str) -> str:
    """What of a plain text is looked at: look-alikes as Latin letters, words with single spaces."""
    return spaced(folded(seen))


def pieces(words: str) -> tuple[Buckets, Places]:
    """The bucket of each piece of a text, and the character at which it begins."""
    codes = np.frombuffer(words.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    # A polynomial of the characters modulo 2^64, of any run from the sums up to its ends.
    back = _powers(_INVERSE, len(codes))
    before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes * _powers(_BASE, len(codes)))])

    def hashes(starts: Places, ends: Places, kind: int) -> Buckets:
        value = (before[ends] - before[starts]) * back[starts] + np.uint64(kind)
        value = (value ^ (value >> np.uint64(29))) * _MIX
        value = (value ^ (value >> np.uint64(32))) * _MIX
        buckets: Buckets = (value >> np.uint64(64 - 18)).astype(np.int64)
        return buckets

    places = [np.arange(max(len(codes) - length + 1, 0)) for length in RUNS]
    found = [hashes(at, at + length, length) for at, length in zip(places, RUNS, strict=True)]
    blank = np.flatnonzero(codes == ord(" "))
    starts, ends = blank[:-1] + 1, blank[1:]
    for kind, first, last in ((_WORD, starts, ends), (_PAIR, starts[:-1], ends[1:])):
        places.append(first)
        found.append(hashes(first, last, kind))
    return np.concatenate(found), np.concatenate(places)


def _powers(base: np.uint64, count: int) -> npt.NDArray[np.uint64]:
    """Powers 0 to ``count`` − 1, modulo 2^64."""
    factors = np.full(count, base)
    factors[:1] = 1
    return np.cumprod(factors)


def windows(length: int) -> tuple[Places, Places]:
    """Where the windows of a text begin and end; one is enough for a text that is no longer than a window."""
    found = []
    for width, step in WINDOWS:
        starts = np.arange(0, max(length - width + step, 1), step)
        found.append(np.stack([starts, np.minimum(starts + width, length)]))
    begins, ends = np.concatenate(found, axis=1)
    return begins, ends


def window_sums(words: str, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What each window of a text of ``words_of`` weighs.

    Args:
        table: a weight for each of the ``BUCKETS``.
    """
    buckets, places = pieces(words)
    length = len(words)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(np.bincount(places, each, minlength=length))])
        for each in (table[buckets].astype(np.float64), None)
    )
    begins, ends = windows(length)
    inside = np.maximum(counts[ends] - counts[begins], 1)
    found: npt.NDArray[np.float64] = (sums[ends] - sums[begins]) / np.sqrt(inside)
    return found
