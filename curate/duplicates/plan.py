"""How the bits of a hash are cut into chunks, and which search is the cheapest.

Pigeonhole: cut the hash into chunks and give chunk k a radius r_k so that sum(r_k + 1) = radius + 1.
A pair within the radius then lies within r_k in at least one chunk k: otherwise it would be at least
radius + 1 apart. Few long chunks beat radius + 1 short ones, because buckets stay small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.groups import Hashes

BITS = 64
TABLE_BITS = 22  # longest chunk: its table has 4M buckets
# Nanoseconds, measured on one core: look a bucket up, compare one candidate, one cell of brute
# force, build one entry of a table, sort one hash into it; and what a mask costs whatever the number of hashes.
LOOKUP, COMPARE, CELL, ENTRY, SORT, MASK = 6.0, 40.0, 0.8, 4.0, 150.0, 60_000.0


@dataclass(frozen=True)
class Chunk:
    """Bits ``shift`` to ``shift + width`` of a hash, sought within ``radius`` of each other."""

    shift: int
    width: int
    radius: int

    def of(self, values: Hashes) -> NDArray[np.int64]:
        """These bits as a number."""
        return ((values >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)).view(np.int64)

    def without(self, values: Hashes) -> Hashes:
        """The bits outside of this chunk, moved together."""
        low = values & np.uint64((1 << self.shift) - 1)
        above = self.shift + self.width
        return low | (values >> np.uint64(above)) << np.uint64(self.shift) if above < BITS else low

    def masks(self) -> Iterator[int]:
        """Every way in which two chunks may differ, those of fewer bits first."""
        for count in range(min(self.radius, self.width) + 1):
            for places in itertools.combinations(range(self.width), count):
                yield sum(1 << place for place in places)


@lru_cache(maxsize=4096)
def plan(log_a: int, log_b: int, radius: int, bits: int) -> tuple[Chunk, ...]:
    """The cheapest chunks for about 2^log_a by 2^log_b hashes of so many bits; none means brute force."""
    rows, columns = 2.0**log_a, 2.0**log_b
    best: tuple[Chunk, ...] = ()
    best_cost = rows * columns * CELL
    for count in range(1, max(radius + 1, 4) + 1):
        widths = [bits // count + (k < bits % count) for k in range(count)]
        radii = [(radius + 1) // count + (k < (radius + 1) % count) - 1 for k in range(count)]
        if widths[0] > TABLE_BITS or widths[-1] == 0:
            continue
        shifts = [sum(widths[:k]) for k in range(count)]
        chunks = tuple(Chunk(s, w, r) for s, w, r in zip(shifts, widths, radii, strict=True) if r >= 0)
        if (cost := sum(_cost(chunk, rows, columns) for chunk in chunks)) < best_cost:
            best, best_cost = chunks, cost
    return best


def _cost(chunk: Chunk, rows: float, columns: float) -> float:
    masks = sum(math.comb(chunk.width, k) for k in range(min(chunk.radius, chunk.width) + 1))
    buckets = 2.0**chunk.width
    per_mask = MASK + LOOKUP * min(rows, buckets) + COMPARE * rows * columns / buckets
    return masks * per_mask + ENTRY * buckets + SORT * (rows + columns)
