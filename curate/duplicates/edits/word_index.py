"""Which keypoints share the key of a word with given ones: an index that grows.

What was indexed once stays on disk beside the views, mapped; the keypoints that came later have an index of their own
in memory, until they are many. Of more than 64 keypoints of one key the first ones are found, wherever they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.edits.looks import Looks
from curate.duplicates.hamming import Indices, ramp
from curate.signals.keypoints import KEY_BITS
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, digest_of, read_json, write_json
from winnow.run import file_stats

CROWD = 64  # keypoints of one key that are found: the first ones
LOW = np.uint64((1 << KEY_BITS) - 1)
_BIT = np.uint8(1) << np.arange(8, dtype=np.uint8)
_ARRAYS = ("sorted", "rest", "there", "buckets")
_FEW = 4  # the index on disk is made again when it lacks a quarter of the keypoints

Matches = tuple[Indices, Indices, NDArray[np.uint32]]


class WordIndex:
    """Some keypoints by the key of their word: about 16 bytes each."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the arrays of ``built``."""
        self.sorted, self.rest = arrays["sorted"], arrays["rest"]
        self._there, self._buckets = arrays["there"], arrays["buckets"]
        self._coarse, self._bits = _widths(len(self.sorted))

    @staticmethod
    def built(words: NDArray[np.uint64], first: int) -> dict[str, NDArray[Any]]:
        """Arrays by name, of the keypoints from ``first`` on.

        Args:
            words: of all keypoints of a set.
        """
        count = len(words) - first
        coarse, bits = _widths(count)
        # Key and number in one integer: sorting is fast, and of one key the first images come first.
        placed, rest = np.empty(count, np.uint64), np.empty(count, np.uint32)
        for part in _parts(count):
            numbers = np.arange(first + part.start, first + part.stop, dtype=np.uint64)
            placed[part] = words[first + part.start : first + part.stop] << np.uint64(KEY_BITS) | numbers
        placed.sort()
        sizes, there = np.zeros(1 << coarse, np.int32), np.zeros(1 << (bits - 3), np.uint8)
        for part in _parts(count):
            place = (placed[part] >> np.uint64(64 - bits)).astype(np.int64)
            np.bitwise_or.at(there, place >> 3, (1 << (place & 7)).astype(np.uint8))
            some, counts = np.unique(place >> (bits - coarse), return_counts=True)
            sizes[some] += counts.astype(np.int32)
            rest[part] = words[(placed[part] & LOW).astype(np.int64)] >> np.uint64(KEY_BITS)
        buckets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int32)], dtype=np.int32)
        return {"sorted": placed, "rest": rest, "there": there, "buckets": buckets}

    def ranges(self, keys: NDArray[np.uint32], limits: Indices | None) -> tuple[Indices, Indices, Indices]:
        """Which keys occur, and from where to where in ``sorted``, the first of a crowd only.

        Args:
            limits: for each row of ``keys``, the number of the point before which to look; None looks at all.
        """
        place = keys.reshape(-1) >> np.uint32(KEY_BITS - self._bits)
        there = self._there.take(place >> np.uint32(3)) & _BIT.take(place & np.uint32(7))
        asked = np.flatnonzero(there).astype(np.uint64)
        found = keys.reshape(-1).take(asked).astype(np.uint64) << np.uint64(KEY_BITS) | asked
        found.sort()  # neighbouring searches share a cache
        rows, first = (found & LOW).astype(np.int64), found & ~LOW
        bucket = (found >> np.uint64(64 - self._coarse)).astype(np.int64)
        low, end = (self._buckets[side].astype(np.int64) for side in (bucket, bucket + 1))
        low = self._placed(first, low, end)
        some = np.flatnonzero((low < end) & (self.sorted.take(low, mode="clip") ^ first <= LOW))
        low, rows = low[some], rows[some]
        last = LOW if limits is None else limits.astype(np.uint64)[rows // keys.shape[-1] % len(limits)]
        high = self._placed(first[some] | last, low, np.minimum(end[some], low + CROWD))
        real = high > low
        return rows[real], low[real], high[real]

    def _placed(self, values: NDArray[np.uint64], low: Indices, high: Indices) -> Indices:
        """As ``np.searchsorted``, each between its own bounds; all at once, which hides the memory's latency."""
        made, left = low.copy(), np.flatnonzero(low < high)
        values, low, high = values[left], low[left], high[left]
        while len(left):
            middle = (low + high) >> 1
            above = self.sorted.take(middle) < values
            low, high = np.where(above, middle + 1, low), np.where(above, high, middle)
            made[left] = low
            more = np.flatnonzero(low < high)
            left, values, low, high = left[more], values[more], low[more], high[more]
        return made


def _widths(count: int) -> tuple[int, int]:
    """Bits of a bucket, and of the filter of keys that are there."""
    return max(count.bit_length() - 1, 8), max(min(count.bit_length() + 4, KEY_BITS), 8)


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, 1 << 20):
        yield slice(start, min(start + (1 << 20), count))


def indexes_of(looks: Looks) -> list[WordIndex]:
    """Indexes that hold all keypoints, those of earlier images in the first one.

    Raises:
        UserError: one cannot be written.
    """
    words = looks.points["word"]
    folder = looks.folder
    if folder is None or not len(words):
        return [WordIndex(WordIndex.built(words, 0))]
    held = _held(looks, folder)
    if not held or (len(words) - held) * _FEW > len(words):
        _write(looks, folder, WordIndex.built(words, 0))
        held = len(words)
    found = [WordIndex({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS})]
    return found if held == len(words) else [*found, WordIndex(WordIndex.built(words, held))]


def _held(looks: Looks, folder: Path) -> int:
    """How many of the first keypoints are in the index on disk."""
    try:
        parts, made_from, stats = read_json(folder / "index.json")
        same = made_from == digest_of(looks.made_from[:parts]) and stats == _stats(folder)
        return int(looks.made_from[parts - 1][2]) if same else 0
    except (OSError, ValueError, TypeError, IndexError):
        return 0


def _write(looks: Looks, folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    try:
        for name in _ARRAYS:
            with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, arrays[name])
    except OSError as error:
        raise UserError(disk_problem(error, folder) or f"{folder}: cannot be written ({error})") from error
    write_json(folder / "index.json", [len(looks.made_from), digest_of(looks.made_from), _stats(folder)])


def _stats(folder: Path) -> list[Any]:
    return file_stats(*(folder / f"{name}.npy" for name in _ARRAYS), below=folder)


def matches(indexes: Sequence[WordIndex], keys: NDArray[np.uint32], limits: Indices | None) -> Matches:
    """Which keys (by their place) occur in which keypoint (by its number), and the upper half of that one's word.

    Args:
        limits: as of ``WordIndex.ranges``.
    """
    taken = np.zeros(keys.size, np.int64)
    found = []
    for index in indexes:
        asked, low, high = index.ranges(keys, limits)
        count = np.minimum(high - low, CROWD - taken[asked])
        taken[asked] += count
        at = ramp(count) + np.repeat(low, count)
        found.append((np.repeat(asked, count), (index.sorted[at] & LOW).astype(np.int64), index.rest[at]))
    asked, number, rest = (np.concatenate(side) for side in zip(*found, strict=True))
    return asked, number, rest
