"""Pillow's reduction of one band of 8 bits to a few sizes, in its own whole-number arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Grey = NDArray[np.uint8]


@compiled
def across(levels: Grey, left: NDArray[np.int64], weights: NDArray[np.int32], out: Grey) -> None:
    """Each row's weighted sums, rounded; four rows at a time, which share the weights that are read.

    Args:
        levels: (height, width).
        left: of each output, its first pixel.
        weights: (outputs, taps), times 2²²; all taps are inside the image.
        out: (height, outputs).
    """
    last, taps = levels.shape[0] - 1, weights.shape[1]
    for top in range(0, last + 1, 4):
        # Below the last row it is taken again.
        second, third, fourth = min(top + 1, last), min(top + 2, last), min(top + 3, last)
        for output in range(len(left)):
            weight, start, end = weights[output], left[output], left[output] + taps
            one, two = levels[top, start:end], levels[second, start:end]
            three, four = levels[third, start:end], levels[fourth, start:end]
            a = b = c = d = np.int32(1 << 21)
            for tap in range(taps):
                a = np.int32(a + np.int32(one[tap]) * weight[tap])
                b = np.int32(b + np.int32(two[tap]) * weight[tap])
                c = np.int32(c + np.int32(three[tap]) * weight[tap])
                d = np.int32(d + np.int32(four[tap]) * weight[tap])
            out[top, output], out[second, output] = (
                _level(a),
                _level(b),
            )
            out[third, output], out[fourth, output] = (
                _level(c),
                _level(d),
            )


@compiled
def _level(total: Any) -> Any:
    """A sum with weights × 2²² and a half as a level."""
    return np.uint8(min(max(total >> 22, 0), 255))


@compiled
def down(strip: Grey, top: NDArray[np.int64], weights: NDArray[np.int32], out: Grey) -> None:
    """Each column's weighted sums, rounded; arguments as of ``across``."""
    sums = np.empty(strip.shape[1], np.int32)
    for line in range(len(top)):
        sums[:] = 1 << 21
        for tap in range(weights.shape[1]):
            row, weight = strip[top[line] + tap], weights[line, tap]
            for x in range(len(sums)):
                sums[x] += np.int32(row[x]) * weight
        for x in range(len(sums)):
            out[line, x] = _level(sums[x])


@compiled
def resized(
    levels: Grey, top: NDArray[np.int64], down: NDArray[np.int32], left: NDArray[np.uint64], across: NDArray[np.int32],
    out: Grey,
) -> None:  # fmt: skip
    """``Image.resize`` of an 8-bit band, columns filtered first, to a size at which a few pixels make one.

    Args:
        top, left: of each output, its first pixel.
        down, across: (outputs, taps) its weights × 2²², and zeros; those of ``down`` stay inside the image,
            ``across`` has an even number of taps, at least four.
    """
    width, (lines, columns) = levels.shape[1], out.shape
    taps, half = across.shape[1], np.int32(1 << 21)
    row, weights = np.zeros(width + taps, np.int32), across.reshape(-1)
    # Numbers without a sign, for which no index from the end has to be considered.
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    four, five, six = np.uint64(4), np.uint64(5), np.uint64(6)
    for line in range(lines):
        row[:width] = half
        for tap in range(down.shape[1]):
            values, weight = levels[top[line] + tap], down[line, tap]
            for x in range(width):
                row[x] += np.int32(values[x]) * weight
        for x in range(width):
            row[x] >>= 22
        made = out[line]
        for x in range(columns):
            at, of = left[x], np.uint64(x * taps)
            total = half + row[at] * weights[of] + row[at + one] * weights[of + one]
            total += row[at + two] * weights[of + two] + row[at + three] * weights[of + three]
            if taps > 4:
                total += row[at + four] * weights[of + four] + row[at + five] * weights[of + five]
            for tap in range(six, np.uint64(taps)):
                total += row[at + tap] * weights[of + tap]
            made[x] = total >> 22
