"""Passes over every pixel for CleanVision's scores: histograms of the colours, and the ends of the brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Words = NDArray[np.uint32]
_CHUNK = 32  # pixels looked at together


@compiled
def histograms(words: Words, counts: NDArray[np.int64]) -> None:
    """(3, 256): number of pixels of each level of red, green and blue; ``words`` in one line."""
    # Two tables each, since a processor waits for its last increment of the same number.
    red, green, blue = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    red2, green2, blue2 = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    one, byte, whole = np.uint32(1), np.uint64(255), len(words) // 2 * 2
    for two in words[:whole].view(np.uint64):
        red[two & byte] += one
        green[(two >> np.uint64(8)) & byte] += one
        blue[(two >> np.uint64(16)) & byte] += one
        red2[(two >> np.uint64(32)) & byte] += one
        green2[(two >> np.uint64(40)) & byte] += one
        blue2[(two >> np.uint64(48)) & byte] += one
    for word in words[whole:]:
        last = np.uint64(word)
        red[last & byte] += one
        green[(last >> np.uint64(8)) & byte] += one
        blue[(last >> np.uint64(16)) & byte] += one
    for level in range(256):
        counts[0, level] = np.int64(red[level]) + red2[level]
        counts[1, level] = np.int64(green[level]) + green2[level]
        counts[2, level] = np.int64(blue[level]) + blue2[level]


@compiled
def squares(words: Words, every: int, out: Words) -> None:
    """1000 × squared brightness of every ``every``-th pixel: 241 R² + 691 G² + 68 B²."""
    byte = np.uint32(255)
    for number in range(len(out)):
        word = words[number * every]
        red, green, blue = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
        out[number] = red * red * np.uint32(241) + green * green * np.uint32(691) + blue * blue * np.uint32(68)


@compiled
def ends(words: Words, low: int, high: int, dim: Words, bright: Words) -> tuple[int, int]:
    """Writes the squares up to ``low`` to ``dim``, those from ``high`` on to ``bright``; how many there are of each."""
    byte, found = np.uint32(255), np.empty(_CHUNK, np.uint32)
    least, most = np.uint32(low), np.uint32(high)
    below, above = 0, 0
    for start in range(0, len(words), _CHUNK):
        count = min(_CHUNK, len(words) - start)
        chunk = words[start : start + count]
        any_ = np.int64(0)
        for at in range(count):
            word = chunk[at]
            red, green, blue = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
            square = np.uint32(
                red * red * np.uint32(241) + green * green * np.uint32(691) + blue * blue * np.uint32(68)
            )
            found[at] = square
            any_ += (square <= least) | (square >= most)
        if any_:
            for square in found[:count]:
                if square <= least:
                    dim[below] = square
                    below += 1
                if square >= most:
                    bright[above] = square
                    above += 1
    return below, above
