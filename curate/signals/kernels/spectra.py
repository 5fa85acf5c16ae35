"""Tiles of a grey image before a Fourier transform, and their power in bands after it (``curate.signals.detail``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Floats = NDArray[np.float32]


@compiled
def windowed(levels: NDArray[np.uint8], top: NDArray[Any], left: NDArray[Any], window: Floats, out: Floats) -> None:
    """(tiles, side, side): each tile of the grid without its mean, times the window."""
    side, number = len(window), 0
    for y in top:
        for x in left:
            total = np.int64(0)
            for line in range(side):
                part = np.uint32(0)
                for level in levels[y + line, x : x + side]:
                    part = np.uint32(part + level)
                total += part
            mean = np.float32(total / (side * side))
            for line in range(side):
                row, weight, made = levels[y + line, x : x + side], window[line], out[number, line]
                for at in range(side):
                    made[at] = (np.float32(row[at]) - mean) * weight[at]
            number += 1


@compiled
def band_means(powers: Floats, begin: NDArray[Any], place: NDArray[Any], weight: Floats, out: Floats) -> None:
    """(tiles, bands): weighted sums of the power.

    Args:
        powers: (groups, waves, tiles of a group).
        begin: where the entries of each band begin, and the end of the last ones.
        place, weight: of each entry, its wave and its weight.
    """
    together, sums = powers.shape[2], np.empty(powers.shape[2], np.float32)
    for first in range(0, len(out), together):
        power = powers[first // together]
        for band in range(out.shape[1]):
            sums[:] = 0
            for entry in range(begin[band], begin[band + 1]):
                row, share = power[place[entry]], weight[entry]
                for tile in range(together):
                    sums[tile] += row[tile] * share
            for tile in range(min(together, len(out) - first)):
                out[first + tile, band] = sums[tile]


@compiled
def softest(
    means: Floats, directions: int, coarse: int, fine: int, noise_rank: int, gate: float, above: float, least: float,
    share: float, fewest: int,
) -> np.float32:  # fmt: skip
    """The lowest over the directions of fine / coarse at ``share`` of the tiles that have the direction.

    Args:
        means: (tiles, bands) power; the last band is noise.
        directions: their number.
        coarse, fine: the first of their bands.
        noise_rank: of the tile whose noise is subtracted everywhere.
        gate, above: power above the noise, and the same as a multiple of the noise, that a tile must have.
        least: power, below which nothing is measured.
        fewest: tiles, below which a direction says nothing; -1 where none says anything.
    """
    tiles = means.shape[0]
    ordered, count = np.empty(tiles, np.float32), 0
    for tile in range(tiles):
        count = _insert(ordered, count, means[tile, means.shape[1] - 1])
    floor = ordered[noise_rank]
    gate_, above_, least_ = np.float32(gate), np.float32(above), np.float32(least)
    lowest = np.float32(-1)
    for direction in range(directions):
        count = 0
        for tile in range(tiles):
            power = np.float32(means[tile, coarse + direction] - floor)
            if power > np.float32(gate_ + above_ * floor):
                own = np.float32(means[tile, fine + direction] - floor)
                value = max(own, np.float32(np.float32(0.1) * floor + least_))
                count = _insert(ordered, count, np.float32(value / power))
        if count >= fewest:
            value = ordered[int(share * (count - 1))]
            if lowest < 0 or value < lowest:
                lowest = value
    return lowest


@compiled
def _insert(ordered: Floats, count: int, value: Any) -> int:
    """Into the first ``count`` values, which are in order; how many they are then."""
    at = count
    while at > 0 and ordered[at - 1] > value:
        ordered[at] = ordered[at - 1]
        at -= 1
    ordered[at] = value
    return count + 1
