"""Tiles of a grey image before, and their power in bands after a Fourier transform (``curate.signals.detail``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Floats = NDArray[np.float32]
_TOGETHER = 8  # tiles


@compiled
def windowed(levels: NDArray[np.uint8], top: NDArray[Any], left: NDArray[Any], window: Floats, out: Floats) -> None:
    """(tiles, side, side): each tile of the grid without its mean, times the window."""
    side, number = len(window), 0
    for y in top:
        for x in left:
            total = np.int64(0)
            for line in range(side):
                for level in levels[y + line, x : x + side]:
                    total += level
            mean = np.float32(total / (side * side))
            for line in range(side):
                row, weight, made = levels[y + line, x : x + side], window[line], out[number, line]
                for at in range(side):
                    made[at] = (np.float32(row[at]) - mean) * weight[at]
            number += 1


@compiled
def band_means(
    waves: NDArray[np.complex64],
    used: NDArray[Any],
    begin: NDArray[Any],
    place: NDArray[Any],
    weight: Floats,
    out: Floats,
) -> None:
    """(tiles, bands): weighted sums of the power.

    Args:
        waves: (tiles, frequencies).
        used: the frequencies that are in any band.
        begin: where the entries of each band begin, and the end of the last ones.
        place, weight: of each entry, its place in ``used``, and its weight.
    """
    tiles, bands = out.shape
    power, sums = np.zeros((len(used), _TOGETHER), np.float32), np.empty(_TOGETHER, np.float32)
    for first in range(0, tiles, _TOGETHER):
        count = min(_TOGETHER, tiles - first)
        for tile in range(count):
            spectrum = waves[first + tile]
            for number in range(len(used)):
                wave = spectrum[used[number]]
                power[number, tile] = wave.real * wave.real + wave.imag * wave.imag
        for band in range(bands):
            sums[:] = 0
            for entry in range(begin[band], begin[band + 1]):
                row, share = power[place[entry]], weight[entry]
                for tile in range(_TOGETHER):
                    sums[tile] += row[tile] * share
            for tile in range(count):
                out[first + tile, band] = sums[tile]
