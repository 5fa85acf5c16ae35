"""Passes over pixels for CleanVision's scores: histograms, percentiles of brightness, and edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Words = NDArray[np.uint32]
Counts = NDArray[np.int64]
_CHUNK = 128  # pixels at a time, whose squares mostly lie all on one side of a percentile


@compiled
def look_over(
    words: Words, low: Words, high: Words, below: Counts, inside: Counts, out: Words, colours: Counts
) -> None:  # fmt: skip
    """Histograms of the colours, and the squares of brightness, × 1000, that lie in some ranges.

    Both in one pass, since a large picture lies far from the processor.

    Args:
        words: pixels in one line, as ``base.words_of`` gives them.
        low, high: the ends of each range, which belong to it.
        below, inside: filled: how many pixels lie below each range, and in it.
        out: (ranges, pixels and 8 more), of which the first ``inside`` ones are filled.
        colours: (3, 256) filled: number of pixels of each level of red, green and blue.
    """
    below[:], inside[:] = 0, 0
    found, near = np.empty(_CHUNK, np.uint32), np.zeros(_CHUNK, np.uint8)
    eights = near.view(np.uint64)
    # Two tables each, since a processor waits for its last increment of the same number.
    red, green, blue = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    red2, green2, blue2 = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    one, byte = np.uint32(1), np.uint32(255)
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        for at in range(len(chunk) // 2):
            word, other = chunk[2 * at], chunk[2 * at + 1]
            red[word & byte] += one
            green[(word >> np.uint32(8)) & byte] += one
            blue[(word >> np.uint32(16)) & byte] += one
            red2[other & byte] += one
            green2[(other >> np.uint32(8)) & byte] += one
            blue2[(other >> np.uint32(16)) & byte] += one
        if len(chunk) % 2:
            word = chunk[len(chunk) - 1]
            red[word & byte] += one
            green[(word >> np.uint32(8)) & byte] += one
            blue[(word >> np.uint32(16)) & byte] += one
        _square(chunk, found)
        highest, lowest = np.uint32(0), np.uint32(0xFFFFFFFF)
        for at in range(len(chunk)):
            highest, lowest = max(highest, found[at]), min(lowest, found[at])
        for number in range(len(low)):
            least, span = low[number], np.uint32(high[number] - low[number])
            if highest < least:
                below[number] += len(chunk)
            elif lowest <= high[number]:
                less = np.uint32(0)
                for at in range(len(chunk)):
                    less = np.uint32(less + np.uint32(found[at] < least))
                    near[at] = np.uint32(found[at] - least) <= span  # below it, it is huge
                near[len(chunk) :] = 0
                below[number] += less
                to, count = out[number], inside[number]
                for eight in range(_CHUNK // 8):
                    if eights[eight]:
                        for at in range(8 * eight, 8 * eight + 8):
                            to[count] = found[at]  # overwritten if not in the range
                            count += near[at]
                inside[number] = count
    for level in range(256):
        colours[0, level] = np.int64(red[level]) + red2[level]
        colours[1, level] = np.int64(green[level]) + green2[level]
        colours[2, level] = np.int64(blue[level]) + blue2[level]


@compiled
def sampled(words: Words, step: int, out: Words) -> None:
    """1000 × the squared brightness of every ``step``-th pixel."""
    for at in range(len(out)):
        out[at] = words[at * step]
    _square(out, out)


@compiled
def _square(words: Words, out: Words) -> None:
    byte = np.uint32(255)
    for at in range(len(words)):
        word = words[at]
        r, g, b = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
        out[at] = r * r * np.uint32(241) + g * g * np.uint32(691) + b * b * np.uint32(68)


@compiled
def outlines(levels: NDArray[np.uint8], counts: Counts, edges: Counts) -> None:
    """Number of pixels of each level of a grey picture, and of what Pillow's ``FIND_EDGES`` makes of it.

    Args:
        levels: (height, width).
        counts, edges: (256,).
    """
    height, width = levels.shape
    counts[:], edges[:] = 0, 0
    for y in range(height):
        for x in range(width):
            level = int(levels[y, x])
            counts[level] += 1
            if 0 < y < height - 1 and 0 < x < width - 1:
                level *= 9
                for row in range(y - 1, y + 2):
                    level -= int(levels[row, x - 1]) + int(levels[row, x]) + int(levels[row, x + 1])
            edges[min(max(level, 0), 255)] += 1
