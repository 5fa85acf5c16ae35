"""Pillow's reduction of one band of 8 bits to a few sizes, in its own whole-number arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled, reassociated

Grey = NDArray[np.uint8]


@reassociated
def across(
    pixels: NDArray[Any], shift: int, first: NDArray[np.int64], begin: NDArray[np.int64], weights: NDArray[np.float64],
    rough: NDArray[np.float32], doubts: NDArray[np.float32], out: Grey,
) -> None:  # fmt: skip
    """Each row's weighted sums, rounded.

    They are taken in float32, four rows at a time; a sum so near to a half that it might be rounded wrongly is taken
    again in doubles, in which it is exact.

    Args:
        pixels: (height, width) of any whole numbers; the band begins at bit ``shift``.
        first: of each output, its first pixel.
        begin: where each output's weights begin, and the end of the last ones.
        weights: multiples of 2⁻²².
        rough: the same.
        doubts: how far the sum of each output may be off.
        out: (height, outputs).
    """
    height, width = pixels.shape
    outputs = len(first)
    rows, sums = np.empty((4, width), np.float32), np.empty((4, outputs), np.float32)
    middle, least, most, unit = np.float32(128.5), np.float32(0), np.float32(255), np.float32(1)
    unsure = np.empty(outputs, np.uint8)
    for top in range(0, height, 4):
        for step in range(4):
            row, values = pixels[min(top + step, height - 1)], rows[step]
            for x in range(width):
                values[x] = np.int32((np.uint32(row[x]) >> np.uint32(shift)) & np.uint32(255)) - np.int32(128)
        for output in range(outputs):
            left, count = first[output], begin[output + 1] - begin[output]
            weight = rough[begin[output] : begin[output + 1]]
            one, two = rows[0, left : left + count], rows[1, left : left + count]
            three, four = rows[2, left : left + count], rows[3, left : left + count]
            a, b, c, d = middle, middle, middle, middle
            for tap in range(count):
                a += one[tap] * weight[tap]
                b += two[tap] * weight[tap]
                c += three[tap] * weight[tap]
                d += four[tap] * weight[tap]
            sums[0, output], sums[1, output], sums[2, output], sums[3, output] = a, b, c, d
        for step in range(min(4, height - top)):
            found, made = sums[step], out[top + step]
            for output in range(outputs):
                beyond = found[output] - np.floor(found[output])
                unsure[output] = (beyond < doubts[output]) | (beyond > unit - doubts[output])
            for output in range(outputs):
                made[output] = np.int32(min(max(found[output], least), most))
            any_ = np.uint8(0)
            for output in range(outputs):
                any_ |= unsure[output]
            if any_:
                for output in range(outputs):
                    if unsure[output]:
                        exact = 0.5
                        for tap in range(begin[output], begin[output + 1]):
                            value = np.float64(rows[step, first[output] + tap - begin[output]])
                            exact += (value + 128.0) * weights[tap]
                        made[output] = np.int32(min(max(exact, 0.0), 255.0))


@compiled
def down(
    strip: Grey, first: NDArray[np.int64], begin: NDArray[np.int64], weights: NDArray[np.float64], out: Grey
) -> None:
    """Each column's weighted sums, rounded; arguments as of ``across``, ``strip`` (height, columns)."""
    columns = strip.shape[1]
    sums = np.empty(columns, np.float64)
    for line in range(len(first)):
        sums[:] = 0.5
        for tap in range(begin[line + 1] - begin[line]):
            row, weight = strip[first[line] + tap], weights[begin[line] + tap]
            for x in range(columns):
                sums[x] += row[x] * weight
        for x in range(columns):
            out[line, x] = np.uint8(min(max(np.floor(sums[x]), 0.0), 255.0))


@compiled
def resized(
    levels: Grey, top: NDArray[np.int32], down: NDArray[np.int32], left: NDArray[np.uint64], across: NDArray[np.int32],
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
