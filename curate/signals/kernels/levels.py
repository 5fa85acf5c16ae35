"""Passes over every pixel: luminance with its histogram and a thumbnail, and Pillow's ``reduce``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Grey = NDArray[np.uint8]
Places = NDArray[np.int64]


@compiled
def look_over(
    words: NDArray[np.uint32], left: Places, top: Places, levels: Grey, counts: NDArray[np.int64], means: Grey
) -> None:
    """Luminance (Pillow's mode L), the number of pixels of each of its levels, and the colours' means over boxes.

    Args:
        words: (height, width) pixels as ``base.words_of`` gives them.
        left, top: where the boxes begin, and the end of the last one, which are those of the picture.
        means: (lines, columns, 3), rounded once.
    """
    width, (lines, columns, _) = words.shape[1], means.shape
    red_blue, greens = np.empty(width, np.uint32), np.empty(width, np.uint32)
    other, middle, low, byte = np.uint32(0x00FF00FF), np.uint32(0xFF00), np.uint32(0xFFFF), np.uint32(0xFF)
    sums = np.empty((columns, 3), np.int64)
    for line in range(lines):
        sums[:] = 0
        for start in range(top[line], top[line + 1], 257):  # so many bytes fit 16 bits
            red_blue[:] = 0
            greens[:] = 0
            stop = min(start + 257, top[line + 1])
            for first in range(start, stop, 4):
                after = min(first + 4, stop)
                for y in range(first, after):
                    row, out = words[y], levels[y]
                    for x in range(width):
                        word = row[x]
                        red, green, blue = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
                        total = red * np.uint32(19595) + green * np.uint32(38470) + blue * np.uint32(7471)
                        out[x] = (total + np.uint32(0x8000)) >> np.uint32(16)
                if after - first == 4:  # while they are in the cache, with a quarter of the sums written
                    one, two, three, four = words[first], words[first + 1], words[first + 2], words[first + 3]
                    for x in range(width):
                        red_blue[x] += (one[x] & other) + (two[x] & other) + (three[x] & other) + (four[x] & other)
                        greens[x] += (one[x] & middle) + (two[x] & middle) + (three[x] & middle) + (four[x] & middle)
                else:
                    for y in range(first, after):
                        for x in range(width):
                            red_blue[x] += words[y, x] & other
                            greens[x] += words[y, x] & middle
            for column in range(columns):
                reds, green_ones, blues = np.uint64(0), np.uint64(0), np.uint64(0)
                for x in range(left[column], left[column + 1]):
                    reds += red_blue[x] & low
                    green_ones += greens[x] >> np.uint32(8)
                    blues += red_blue[x] >> np.uint32(16)
                sums[column, 0] += np.int64(reds)
                sums[column, 1] += np.int64(green_ones)
                sums[column, 2] += np.int64(blues)
        for column in range(columns):
            count = max((top[line + 1] - top[line]) * (left[column + 1] - left[column]), 1)
            for band in range(3):
                means[line, column, band] = (2 * sums[column, band] + count) // (2 * count)
    # Eight tables, since a processor waits for its last increment of the same number.
    tables, one, last = np.zeros(8 * 256, np.uint32), np.uint32(1), np.uint64(255)
    flat = levels.reshape(-1)
    whole = len(flat) // 8 * 8
    for eight in flat[:whole].view(np.uint64):
        tables[eight & last] += one
        tables[((eight >> np.uint64(8)) & last) + np.uint64(256)] += one
        tables[((eight >> np.uint64(16)) & last) + np.uint64(512)] += one
        tables[((eight >> np.uint64(24)) & last) + np.uint64(768)] += one
        tables[((eight >> np.uint64(32)) & last) + np.uint64(1024)] += one
        tables[((eight >> np.uint64(40)) & last) + np.uint64(1280)] += one
        tables[((eight >> np.uint64(48)) & last) + np.uint64(1536)] += one
        tables[(eight >> np.uint64(56)) + np.uint64(1792)] += one
    for level in flat[whole:]:
        tables[level] += one
    for level in range(256):
        count = np.int64(0)
        for table in range(8):
            count += tables[256 * table + level]
        counts[level] = count


@compiled
def reduced(levels: Grey, factor: int, out: Grey) -> None:
    """``Image.reduce``: rounded means of squares of ``factor`` pixels; those at the right and below may be smaller.

    Args:
        factor: at most 257, so that a column of so many pixels fits 16 bits.
    """
    height, width = levels.shape
    whole = width // factor
    sums, wide, found = np.empty(width, np.uint16), np.empty(width, np.uint32), np.empty(whole, np.uint32)
    for line in range(out.shape[0]):
        top = line * factor
        rows = min(factor, height - top)
        for x in range(width):
            sums[x] = levels[top, x]
        for y in range(top + 1, top + rows):
            row = levels[y]
            for x in range(width):
                sums[x] += row[x]
        half, scale = _rounding(rows * factor)
        made = out[line]
        if factor == 2:
            for x in range(whole):
                found[x] = sums[2 * x] + sums[2 * x + 1]
        elif factor == 3:
            for x in range(whole):
                found[x] = sums[3 * x] + sums[3 * x + 1] + sums[3 * x + 2]
        elif factor == 4:
            for x in range(whole):
                found[x] = sums[4 * x] + sums[4 * x + 1] + sums[4 * x + 2] + sums[4 * x + 3]
        else:
            for x in range(width):
                wide[x] = sums[x]
            for x in range(whole):
                total = np.uint32(0)
                for step in range(factor):
                    total = np.uint32(total + wide[x * factor + step])
                found[x] = total
        for x in range(whole):
            found[x] = (found[x] + half) * scale
        for x in range(whole):
            made[x] = found[x] >> np.uint32(24)
        if whole < len(made):
            half, scale = _rounding(rows * (width - whole * factor))
            total = half
            for x in range(whole * factor, width):
                total = np.uint32(total + sums[x])
            made[whole] = np.uint32(total * scale) >> np.uint32(24)


@compiled
def _rounding(count: int) -> Any:
    """Half of ``count``, and what a sum is multiplied with before its highest byte is taken (Pillow's Reduce.c)."""
    return np.uint32(count // 2), np.uint32(np.float32(1 << 32) / np.float32(count << 8))
