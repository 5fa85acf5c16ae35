"""Passes over every pixel for CleanVision's scores: histograms of the colours, and percentiles of their brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Words = NDArray[np.uint32]
Counts = NDArray[np.int64]
_CHUNK = 64  # pixels at a time, whose squares mostly lie all on one side of a percentile


@compiled
def histograms(words: Words, colours: Counts) -> None:
    """Number of pixels of each level of red, green and blue.

    Args:
        words: pixels in one line, as ``base.words_of`` gives them.
        colours: (3, 256).
    """
    # Two tables each, since a processor waits for its last increment of the same number.
    red, green, blue = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    red2, green2, blue2 = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    one, byte = np.uint32(1), np.uint32(255)
    for at in range(len(words) // 2):
        word, other = words[2 * at], words[2 * at + 1]
        red[word & byte] += one
        green[(word >> np.uint32(8)) & byte] += one
        blue[(word >> np.uint32(16)) & byte] += one
        red2[other & byte] += one
        green2[(other >> np.uint32(8)) & byte] += one
        blue2[(other >> np.uint32(16)) & byte] += one
    if len(words) % 2:
        word = words[len(words) - 1]
        red[word & byte] += one
        green[(word >> np.uint32(8)) & byte] += one
        blue[(word >> np.uint32(16)) & byte] += one
    for level in range(256):
        colours[0, level] = np.int64(red[level]) + red2[level]
        colours[1, level] = np.int64(green[level]) + green2[level]
        colours[2, level] = np.int64(blue[level]) + blue2[level]


@compiled
def squares(words: Words, low: Words, high: Words, below: Counts, inside: Counts, out: Words) -> None:
    """1000 × the squared brightness of the pixels at which it lies in one of some ranges.

    Args:
        words: as of ``histograms``.
        low, high: the ends of each range, which belong to it.
        below, inside: filled: how many pixels lie below each range, and in it.
        out: (ranges, pixels), of which the first ``inside`` ones are filled.
    """
    below[:], inside[:] = 0, 0
    found, byte = np.empty(_CHUNK, np.uint32), np.uint32(255)
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        highest, lowest = np.uint32(0), np.uint32(0xFFFFFFFF)
        for at in range(len(chunk)):
            word = chunk[at]
            r, g, b = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
            square = np.uint32(r * r * np.uint32(241) + g * g * np.uint32(691) + b * b * np.uint32(68))
            found[at], highest, lowest = square, max(highest, square), min(lowest, square)
        for number in range(len(low)):
            least, span = low[number], np.uint32(high[number] - low[number])
            if highest < least:
                below[number] += len(chunk)
            elif lowest <= high[number]:
                less, near = np.uint32(0), np.uint32(0)
                for at in range(len(chunk)):
                    less = np.uint32(less + np.uint32(found[at] < least))
                    near = np.uint32(near + np.uint32(np.uint32(found[at] - least) <= span))  # below it, it is huge
                below[number] += less
                if near:
                    to, count = out[number], inside[number]
                    for at in range(len(chunk)):
                        to[count] = found[at]  # no more than there are pixels, and overwritten if not in the range
                        count += np.uint32(found[at] - least) <= span
                    inside[number] = count
