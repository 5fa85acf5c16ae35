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
    length, least, one = lines.shape[1], np.uint8(gate), np.uint8(1)
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
            hit[x] = (range_[x] >= least) & (own >= one) & (own == steepest[x + 2])
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
    block, limit = len(out), np.uint8(most)
    places = (lines.shape[1] - 1) // block * block
    sums, step = np.zeros(places, np.uint32), np.empty(places, np.uint8)
    for line in lines:
        for x in range(places):
            step[x] = max(line[x], line[x + 1]) - min(line[x], line[x + 1])
        for x in range(places):
            sums[x] += min(step[x], limit)
    out[:] = 0
    for x in range(places):
        out[x % block] += sums[x]


@compiled
def contours(lines: Grey, least: int, most: int, out: Counts) -> None:
    """Steps of ``least`` to ``most`` levels with four pixels of one level on both sides, by offset in blocks."""
    length, lowest, highest, none = lines.shape[1], np.uint8(least), np.uint8(most), np.uint8(0)
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
            pair[x] = flat[x] | flat[x + 4]
        for x in range(places):
            counts[x] += np.uint32((pair[x] == none) & (step[x + 3] >= lowest) & (step[x + 3] <= highest))
    out[:] = 0
    for x in range(places):
        out[x % len(out)] += counts[x]


@compiled
def frame(levels: Grey, tolerance: int, out: Counts) -> None:
    """Rows of a flat frame at the top and at the bottom, then columns at the left and at the right.

    A line belongs to it whose levels all lie within ``tolerance`` of the median of the outermost one. 0 and 0 where
    only one of two opposite sides has any, or where all lines have.
    """
    height, width = levels.shape
    low, high = np.full(height, 255, np.uint8), np.zeros(height, np.uint8)
    lowest, highest = np.full(width, 255, np.uint8), np.zeros(width, np.uint8)
    for y in range(height):
        row = levels[y]
        least, most = row[0], row[0]
        for level in row:
            least, most = min(least, level), max(most, level)
        low[y], high[y] = least, most
        for x in range(width):
            lowest[x], highest[x] = min(lowest[x], row[x]), max(highest[x], row[x])
    counts = np.empty(256, np.int64)
    for side in range(4):
        line = levels[0] if side == 0 else levels[height - 1] if side == 1 else levels[:, 0 if side == 2 else width - 1]
        counts[:] = 0
        for level in line:
            counts[level] += 1
        median, before = 0, counts[0]
        while before <= len(line) // 2:
            median += 1
            before += counts[median]
        lower, upper = (low, high) if side < 2 else (lowest, highest)
        length, found = len(lower), 0
        while found < length:
            at = length - 1 - found if side % 2 else found
            if lower[at] < median - tolerance or upper[at] > median + tolerance:
                break
            found += 1
        out[side] = found if found < length else 0
    for side in (0, 2):
        if not out[side] or not out[side + 1]:
            out[side] = out[side + 1] = 0


@compiled
def seams(levels: Grey, tolerance: int, of_columns: Counts, of_rows: Counts) -> None:
    """In how many rows a column has a step of its own, and in how many columns a row; every second one is asked.

    A step over two pixels is its own if it is more than ``tolerance`` levels higher than those two beside it.

    Args:
        of_columns, of_rows: of the columns and rows from the fourth to the fourth from the end.
    """
    height, width, limit = levels.shape[0], levels.shape[1], np.uint8(tolerance)
    step, more, counts = np.empty(width, np.uint8), np.empty(width, np.uint8), np.zeros(width, np.uint32)
    for y in range(0, height, 2):
        row = levels[y]
        for x in range(width - 2):  # around column x + 1
            step[x] = max(row[x], row[x + 2]) - min(row[x], row[x + 2])
        for x in range(len(of_columns)):
            beside = max(step[x], step[x + 4])
            more[x] = max(step[x + 2], beside) - beside
        for x in range(len(of_columns)):
            counts[x] += np.uint32(more[x] > limit)
    for x in range(len(of_columns)):
        of_columns[x] = counts[x]
    half = (width + 1) // 2
    every, steps = np.empty((height, half), np.uint8), np.empty((height - 2, half), np.uint8)
    for y in range(height):
        for x in range(half):
            every[y, x] = levels[y, 2 * x]
    for y in range(height - 2):  # around row y + 1
        upper, lower, made = every[y], every[y + 2], steps[y]
        for x in range(half):
            made[x] = max(upper[x], lower[x]) - min(upper[x], lower[x])
    for y in range(len(of_rows)):
        above, here, below, total = steps[y], steps[y + 2], steps[y + 4], np.uint32(0)
        for x in range(half):
            beside = max(above[x], below[x])
            more[x] = max(here[x], beside) - beside
        for x in range(half):
            total = np.uint32(total + np.uint32(more[x] > limit))
        of_rows[y] = total


@compiled
def drawn(levels: Grey) -> np.int64:
    """Pixels of every second row that differ by at most one level from the next one to the right and below."""
    width, found, one = levels.shape[1], np.int64(0), np.uint8(1)
    across, down = np.empty(width, np.uint8), np.empty(width, np.uint8)
    for y in range(0, levels.shape[0] - 1, 2):
        row, below, total = levels[y], levels[y + 1], np.uint32(0)
        for x in range(width - 1):
            across[x] = max(row[x], row[x + 1]) - min(row[x], row[x + 1])
            down[x] = max(row[x], below[x]) - min(row[x], below[x])
        for x in range(width - 1):
            total = np.uint32(total + np.uint32(max(across[x], down[x]) <= one))
        found += total
    return found
