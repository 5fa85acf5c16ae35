"""Passes along the lines of a grey image: edges, JPEG's grid, false contours, frames, seams and drawn areas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Grey = NDArray[np.uint8]
Counts = NDArray[np.int64]


@compiled
def columns(levels: Grey, step: int, out: Grey) -> None:
    """Every ``step``-th column, as a line."""
    for y in range(levels.shape[0]):
        row = levels[y]
        for line in range(out.shape[0]):
            out[line, y] = row[line * step]


@compiled
def edges(lines: Grey, gate: int, out: NDArray[np.float32]) -> int:
    """Steepest step / range of the eight pixels around it, of every edge; how many were written to ``out``.

    Args:
        gate: smallest range that counts as an edge.
    """
    length = lines.shape[1]
    places = length - 7
    if places < 1:
        return 0
    step, steepest = np.empty(length, np.uint8), np.empty(length, np.uint8)
    range_, hit, at = np.empty(length, np.uint8), np.empty(length, np.uint8), np.empty(length + 1, np.int32)
    high, low = np.empty((2, length), np.uint8), np.empty((2, length), np.uint8)
    found = 0
    for line in lines:
        for x in range(length - 1):
            high[0, x], low[0, x] = max(line[x], line[x + 1]), min(line[x], line[x + 1])
            step[x] = high[0, x] - low[0, x]
        for x in range(length - 3):
            high[1, x], low[1, x] = max(high[0, x], high[0, x + 2]), min(low[0, x], low[0, x + 2])
        for x in range(length - 2):
            range_[x] = max(step[x], step[x + 1])
        for x in range(length - 4):
            steepest[x] = max(range_[x], range_[x + 2])  # of four steps
        for x in range(places):
            range_[x] = max(high[1, x], high[1, x + 4]) - min(low[1, x], low[1, x + 4])
        for x in range(places):
            own = step[x + 3]
            hit[x] = (range_[x] >= gate) & (own > 0) & (own == steepest[x + 2])
        hits = 0
        for x in range(places):
            at[hits] = x
            hits += hit[x]
        for x in at[:hits]:
            out[found] = np.float32(step[x + 3]) / np.float32(range_[x])
            found += 1
    return found


@compiled
def grid(lines: Grey, most: int, out: Counts) -> None:
    """Sums of the steps along the lines, each at most ``most``, by their offset in blocks of ``len(out)`` pixels."""
    block = len(out)
    places = (lines.shape[1] - 1) // block * block
    sums = np.zeros(places, np.uint32)
    for line in lines:
        for x in range(places):
            sums[x] += np.uint32(min(max(line[x], line[x + 1]) - min(line[x], line[x + 1]), most))
    out[:] = 0
    for x in range(places):
        out[x % block] += sums[x]


@compiled
def contours(lines: Grey, least: int, most: int, out: Counts) -> None:
    """Steps of ``least`` to ``most`` levels with four pixels of one level on both sides, by offset in blocks."""
    length = lines.shape[1]
    places = length - 7
    step, pair, flat = np.empty(length, np.uint8), np.empty(length, np.uint8), np.empty(length, np.uint8)
    counts = np.zeros(places, np.uint32)
    for line in lines:
        for x in range(length - 1):
            step[x] = max(line[x], line[x + 1]) - min(line[x], line[x + 1])
        for x in range(length - 2):
            pair[x] = step[x] | step[x + 1]
        for x in range(length - 3):
            flat[x] = pair[x] | step[x + 2]  # 0 where four pixels from here on have one level
        for x in range(places):
            both, middle = flat[x] | flat[x + 4], step[x + 3]
            counts[x] += np.uint32((both == 0) & (middle >= least) & (middle <= most))
    out[:] = 0
    for x in range(places):
        out[x % len(out)] += counts[x]


@compiled
def extremes(lines: Grey, low: Grey, high: Grey) -> None:
    """Lowest and highest level of each line."""
    for number in range(lines.shape[0]):
        line = lines[number]
        least, most = line[0], line[0]
        for level in line:
            least, most = min(least, level), max(most, level)
        low[number], high[number] = least, most


@compiled
def seams(levels: Grey, every: int, tolerance: int, out: NDArray[np.uint32]) -> None:
    """Of every ``every``-th row, at how many the step over two pixels is higher than those two beside it."""
    width = levels.shape[1]
    step = np.empty(width, np.int16)
    out[:] = 0
    for y in range(0, levels.shape[0], every):
        row = levels[y]
        for x in range(width - 2):  # around column x + 1
            step[x] = max(row[x], row[x + 2]) - min(row[x], row[x + 2])
        for x in range(len(out)):
            out[x] += np.uint32(step[x + 2] > max(step[x], step[x + 4]) + tolerance)


@compiled
def drawn(levels: Grey) -> np.int64:
    """Pixels of every second row that differ by at most one level from the next one to the right and below."""
    found = np.int64(0)
    for y in range(0, levels.shape[0] - 1, 2):
        row, below = levels[y], levels[y + 1]
        for x in range(levels.shape[1] - 1):
            across = max(row[x], row[x + 1]) - min(row[x], row[x + 1])
            down = max(row[x], below[x]) - min(row[x], below[x])
            found += (across <= 1) & (down <= 1)
    return found
