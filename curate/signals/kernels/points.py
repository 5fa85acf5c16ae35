"""Keypoints of the blurred layers of one small view, and the words of their patches (``curate.signals.keypoints``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Floats = NDArray[np.float32]


@compiled
def extrema(detail: Floats, faint: float, edge: float, found: NDArray[np.int64]) -> int:
    """Places in a flat (layers, height, width) of the most contrasted extrema that are no edges; how many there are.

    Args:
        detail: differences of neighbouring layers.
        faint: contrast that is not enough.
        edge: the largest ratio of the two curvatures.
        found: filled, the most contrasted first; of equal ones the first.
    """
    layers, height, width = detail.shape
    across = np.empty((2, height, width), np.float32)
    near = np.empty((2, layers, height, width), np.float32)  # highest and lowest of nine of a layer
    for layer in range(layers):
        for y in range(height):
            row = detail[layer, y]
            for x in range(1, width - 1):
                high = row[x] if row[x] > row[x - 1] else row[x - 1]
                low = row[x] if row[x] < row[x - 1] else row[x - 1]
                across[0, y, x] = high if high > row[x + 1] else row[x + 1]
                across[1, y, x] = low if low < row[x + 1] else row[x + 1]
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                high, low = across[0, y - 1, x], across[1, y - 1, x]
                high = high if high > across[0, y, x] else across[0, y, x]
                low = low if low < across[1, y, x] else across[1, y, x]
                near[0, layer, y, x] = high if high > across[0, y + 1, x] else across[0, y + 1, x]
                near[1, layer, y, x] = low if low < across[1, y + 1, x] else across[1, y + 1, x]
    contrast = np.empty(len(found) + 1, np.float32)
    hit, count = np.empty(width, np.uint8), 0
    limit, ratio = np.float32(faint), np.float32((edge + 1) ** 2)
    for layer in range(1, layers - 1):
        for y in range(1, height - 1):
            row = detail[layer, y]
            for x in range(1, width - 1):
                value = row[x]
                highest = (value >= near[0, layer - 1, y, x]) & (value >= near[0, layer, y, x])
                lowest = (value <= near[1, layer - 1, y, x]) & (value <= near[1, layer, y, x])
                highest &= value >= near[0, layer + 1, y, x]
                lowest &= value <= near[1, layer + 1, y, x]
                hit[x] = (highest | lowest) & ((value > limit) | (value < -limit))
            for x in range(1, width - 1):
                if not hit[x]:
                    continue
                above, below = detail[layer, y - 1], detail[layer, y + 1]
                twice = 2 * row[x]
                bend_x, bend_y = row[x - 1] + row[x + 1] - twice, above[x] + below[x] - twice
                both = (below[x + 1] - below[x - 1] - above[x + 1] + above[x - 1]) / 4
                if (bend_x + bend_y) ** 2 * edge >= ratio * (bend_x * bend_y - both**2):
                    continue
                own = abs(row[x])
                at = count
                while at > 0 and contrast[at - 1] < own:
                    contrast[at] = contrast[at - 1]
                    if at < len(found):
                        found[at] = found[at - 1]
                    at -= 1
                if at < len(found):
                    contrast[at] = own
                    found[at] = (layer * height + y) * width + x
                    count = min(count + 1, len(found))
    return count


@compiled
def _vertex(before: Any, middle: Any, after: Any) -> Any:
    """Where a parabola through three values has its extremum, -0.5 to 0.5 from the middle one."""
    bend = before - 2 * middle + after
    if abs(bend) <= 1e-6:
        return np.float32(0)
    return np.float32(min(max((before - after) / (2 * bend), -0.5), 0.5))


@compiled
def describe(
    layers: Floats, detail: Floats, found: NDArray[np.int64], sigmas: Floats, offsets: Floats, coarser: int,
    context: float, waves: Floats, wide: int, place: Floats, words: NDArray[np.uint64], unsure: NDArray[np.uint8],
    key_bits: int,
) -> None:  # fmt: skip
    """Place, word and least certain bits of each keypoint.

    Args:
        layers, detail: (layers, height, width) the blurred view, and the differences.
        found: places in ``detail`` as one line.
        sigmas: of the layers, three to an octave.
        offsets: samples of a side of a patch, in sigmas.
        coarser: layers from a patch to the second one, which is ``context`` times as wide.
        waves: (samples of a patch, bits of the first patch); the second patch has the first ``wide`` of them.
        place: (keypoints, 3), filled: x, y, sigma.
        words, unsure: filled; the ``unsure.shape[1]`` least certain of the lowest ``key_bits`` bits.
    """
    count, height, width = layers.shape
    flat, side, bits = detail.reshape(-1), len(offsets), waves.shape[1]
    patch, signs = np.empty(side * side, np.float32), np.empty(bits, np.float32)
    most_x, most_y = np.float32(width - 1.001), np.float32(height - 1.001)
    for point in range(len(found)):
        at = found[point]
        layer, y, x = at // (height * width), at // width % height, at % width
        # 2 to the power of a third of the vertex, by its series: an exponential's last digit differs by library.
        bent = _vertex(flat[at - height * width], flat[at], flat[at + height * width]) * 0.23104906018664842
        place[point, 0] = x + _vertex(flat[at - 1], flat[at], flat[at + 1])
        place[point, 1] = y + _vertex(flat[at - width], flat[at], flat[at + width])
        place[point, 2] = sigmas[layer] * (1 + bent * (1 + bent / 2 * (1 + bent / 3 * (1 + bent / 4))))
        word, done = np.uint64(0), np.uint64(0)
        for second in range(2):
            seen = layers[layer] if second == 0 else layers[min(layer + coarser, count - 1)]
            reach = place[point, 2] * (np.float32(context) if second else np.float32(1))
            sample = 0
            for down in range(side):
                row = min(max(place[point, 1] + reach * offsets[down], np.float32(0)), most_y)
                top = np.int64(row)
                below = np.float32(row - np.float32(top))
                for right in range(side):
                    column = min(max(place[point, 0] + reach * offsets[right], np.float32(0)), most_x)
                    left = np.int64(column)
                    share = np.float32(column - np.float32(left))
                    upper = seen[top, left] + (seen[top, left + 1] - seen[top, left]) * share
                    lower = seen[top + 1, left] + (seen[top + 1, left + 1] - seen[top + 1, left]) * share
                    patch[sample] = upper + (lower - upper) * below
                    sample += 1
            used = wide if second else bits
            signs[:] = 0
            for sample in range(side * side):
                value, wave = patch[sample], waves[sample]
                for bit in range(used):
                    signs[bit] += value * wave[bit]
            for bit in range(used):
                word |= np.uint64(signs[bit] > 0) << done
                done += np.uint64(1)
            if second == 0:
                for number in range(unsure.shape[1]):
                    least = 0
                    for bit in range(1, key_bits):
                        if abs(signs[bit]) < abs(signs[least]):
                            least = bit
                    unsure[point, number] = least
                    signs[least] = np.inf
        words[point] = word
