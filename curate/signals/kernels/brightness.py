"""Passes over every pixel for CleanVision's scores: histograms of the colours, and of their brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Words = NDArray[np.uint32]
Counts = NDArray[np.int64]
_CHUNK = 1024  # pixels at a time: what fits the nearest cache
SHIFT = 16  # bits of a square that its bin leaves out


@compiled
def histograms(words: Words, colours: Counts, squares: Counts) -> None:
    """Number of pixels of each level of red, green and blue, and of each bin of 1000 × the squared brightness.

    Args:
        words: pixels in one line, as ``base.words_of`` gives them.
        colours: (3, 256).
        squares: of 241 R² + 691 G² + 68 B² without its ``SHIFT`` lowest bits.
    """
    # Two tables each, since a processor waits for its last increment of the same number.
    red, green, blue = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    red2, green2, blue2 = np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(256, np.uint32)
    bins, bins2 = np.zeros(len(squares), np.uint32), np.zeros(len(squares), np.uint32)
    found = np.empty(_CHUNK, np.uint16)
    one, byte = np.uint32(1), np.uint32(255)
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        for at in range(len(chunk)):
            word = chunk[at]
            r, g, b = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
            square = r * r * np.uint32(241) + g * g * np.uint32(691) + b * b * np.uint32(68)
            found[at] = square >> np.uint32(SHIFT)
        for at in range(len(chunk) // 2):
            word, other = chunk[2 * at], chunk[2 * at + 1]
            red[word & byte] += one
            green[(word >> np.uint32(8)) & byte] += one
            blue[(word >> np.uint32(16)) & byte] += one
            bins[found[2 * at]] += one
            red2[other & byte] += one
            green2[(other >> np.uint32(8)) & byte] += one
            blue2[(other >> np.uint32(16)) & byte] += one
            bins2[found[2 * at + 1]] += one
        if len(chunk) % 2:
            word = chunk[len(chunk) - 1]
            red[word & byte] += one
            green[(word >> np.uint32(8)) & byte] += one
            blue[(word >> np.uint32(16)) & byte] += one
            bins[found[len(chunk) - 1]] += one
    for level in range(256):
        colours[0, level] = np.int64(red[level]) + red2[level]
        colours[1, level] = np.int64(green[level]) + green2[level]
        colours[2, level] = np.int64(blue[level]) + blue2[level]
    for place in range(len(squares)):
        squares[place] = np.int64(bins[place]) + bins2[place]


@compiled
def squares_in(words: Words, wanted: NDArray[np.bool_], out: Words) -> None:
    """Those squares of ``histograms`` that lie in a wanted bin; ``out`` has room for just them."""
    found, at = np.empty(_CHUNK, np.uint32), np.empty(_CHUNK + 1, np.int32)
    byte, count = np.uint32(255), 0
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK]
        for place in range(len(chunk)):
            word = chunk[place]
            r, g, b = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
            found[place] = r * r * np.uint32(241) + g * g * np.uint32(691) + b * b * np.uint32(68)
        hits = 0
        for place in range(len(chunk)):
            at[hits] = place
            hits += wanted[found[place] >> np.uint32(SHIFT)]
        for place in at[:hits]:
            out[count] = found[place]
            count += 1
