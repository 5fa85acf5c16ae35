"""Keypoints of a small grey view, and for each a word that copies share although they are cropped, toned or mirrored.

A keypoint is an extremum of differences of Gaussians over place and scale that is no edge (Lowe 2004). Its word holds
the signs of the lowest cosine coefficients of the patch around it, which scales with it: gain and offset change no
sign, and a mirror image changes those of odd horizontal frequency, so that the word of the mirrored keypoint costs
nothing. Copies are found by words that two images share, as Ke, Sukthankar and Huston (2004) find them by near
descriptors; the signs that are least certain are tried both ways (multi-probe, Lv and others 2007).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 80  # of the longer side of a view, in pixels
_PER_OCTAVE = 3
SIGMAS = (2.0 ** (np.arange(10) / _PER_OCTAVE)).astype(np.float32)
KEPT = 40  # keypoints of an image, those of the highest contrast
KEY_BITS = 32  # the lower bits of a word: these two images must share
PROBED = 4  # least certain bits of the key
# One keypoint as it is stored. place: x, y and scale (sigma) in pixels of the view, times STEPS; word: the lower 32
# bits are the key, the others confirm it; unsure: the bits of the key that are least certain, the least one first.
POINT = np.dtype([("word", "<u8"), ("place", "<u2", 3), ("unsure", "u1", PROBED)])
STEPS = np.array([512, 512, 4096], np.float32)
_FAINT = 0.25  # grey levels
_EDGE = 10.0  # Lowe's largest ratio of the two curvatures
_GRID = 7  # samples of a patch, a side
_REACH = 4.5  # half a patch, in sigmas of the keypoint
_CONTEXT = 2  # how much wider the second patch is, and how many octaves coarser
_FINE, _WIDE = 44, 20  # coefficients of the two patches

Floats = NDArray[np.floating[Any]]


@functools.lru_cache(SIDE)
def _cosines(size: int) -> tuple[Floats, list[Floats]]:
    """The cosine transform (size, size) of a side, and what a Gaussian of each sigma leaves of its lowest waves.

    A Gaussian filter that reflects at the edges multiplies each wave by a number of its own; waves of which less than a
    thousandth is left are left out, which saves half of the work.
    """
    frequency = np.pi * np.arange(size) / size
    waves = np.cos(frequency[:, None] * (np.arange(size) + 0.5)) * np.sqrt(2 / size)
    waves[0] /= np.sqrt(2)
    kept = np.exp(-0.5 * (SIGMAS[:, None] * frequency) ** 2)
    return waves.astype(np.float32), [row[row > 1e-3].astype(np.float32) for row in kept]


def _waves() -> tuple[Floats, NDArray[np.bool_]]:
    """Cosine patterns (49, 44) from the lowest on, without the mean; and which change their sign in a mirror."""
    places = (np.arange(_GRID) + 0.5) / _GRID
    waves = np.cos(np.pi * np.arange(_GRID)[:, None] * places)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    down, across = np.divmod(np.arange(_GRID * _GRID), _GRID)
    order = np.argsort((down + across) * 100 + np.abs(down - across), kind="stable")[1 : _FINE + 1]
    made = np.einsum("fy,fx->yxf", waves[down[order]], waves[across[order]])
    return made.reshape(-1, _FINE).astype(np.float32), across[order] % 2 == 1


_WAVES, _ODD = _waves()
# XOR with a word gives that of the mirrored keypoint.
MIRROR = np.uint64(sum(1 << int(bit) for bit in np.flatnonzero(np.concatenate([_ODD, _ODD[:_WIDE]]))))
_OFFSETS = (np.arange(_GRID, dtype=np.float32) - _GRID // 2) * (2 * _REACH / _GRID)


def keypoints(view: NDArray[np.uint8]) -> NDArray[Any]:
    """The keypoints of one view, at most 40, those of the highest contrast first.

    Args:
        view: uint8 (height, width), 80 pixels a side at most.

    Returns:
        Records of dtype ``POINT``.
    """
    height, width = view.shape
    if min(height, width) < 3:
        return np.empty(0, POINT)
    # One image at a time: its layers fit a cache, and its keypoints do not depend on the images around it.
    layers = _blurred(view)
    detail = layers[1:] - layers[:-1]
    layer, y, x = _extrema(detail)
    around = detail.reshape(-1)[((layer * height + y) * width + x)[:, None] + _nearby(height, width)]
    middle, finer, coarser, left, right, above, below = around.T
    place = np.empty((len(x), 3), np.float32)
    place[:, 0] = x + _vertex(left, middle, right)
    place[:, 1] = y + _vertex(above, middle, below)
    place[:, 2] = SIGMAS[layer] * np.exp2(_vertex(finer, middle, coarser) / np.float32(_PER_OCTAVE))
    made = np.empty(len(x), POINT)
    made["place"] = np.rint(place * STEPS)
    patches = _patches(layers, layer, place)
    fine, wide = patches[0] @ _WAVES, patches[1] @ _WAVES[:, :_WIDE]
    signs = np.packbits(np.concatenate([fine, wide], axis=1) > 0, axis=1, bitorder="little")
    made["word"] = signs.view("<u8")[:, 0]
    made["unsure"] = np.argsort(np.abs(fine[:, :KEY_BITS]), axis=1, kind="stable")[:, :PROBED]
    return made


def _blurred(view: NDArray[np.uint8]) -> Floats:
    """(10, height, width): the view after a Gaussian filter of each of ``SIGMAS``."""
    (down, left_down), (across, left_across) = (_cosines(size) for size in view.shape)
    spectrum = down @ view.astype(np.float32) @ across.T
    made = np.empty((len(SIGMAS), *view.shape), np.float32)
    for layer, (y, x) in enumerate(zip(left_down, left_across, strict=True)):
        kept = spectrum[: len(y), : len(x)] * y[:, None] * x
        np.matmul(down[: len(y)].T, kept @ across[: len(x)], out=made[layer])
    return made


def _nearby(height: int, width: int) -> NDArray[np.int64]:
    """Steps in a flat (layers, height, width): none, a layer finer, coarser, left, right, above, below."""
    return np.array([0, -height * width, height * width, -1, 1, -width, width])


def _extrema(detail: Floats) -> tuple[NDArray[np.int64], ...]:
    """Layer, row and column of each keypoint: the most contrasted first."""
    height, width = detail.shape[1:]
    flat = high = low = detail.reshape(-1)
    for step in (height * width, width, 1):  # in flat arrays; what this finds at the edges is left out below
        high = np.maximum(np.maximum(high[: -2 * step], high[step:-step]), high[2 * step :])
        low = np.minimum(np.minimum(low[: -2 * step], low[step:-step]), low[2 * step :])
    first = height * width + width + 1
    middle = flat[first:-first]
    place = first + np.flatnonzero(((middle == high) | (middle == low)) & (np.abs(middle) > _FAINT))
    y, x = np.divmod(place % (height * width), width)
    place = place[(y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)]
    near = flat[place + np.array([0, 1, -1, width, -width, width + 1, width - 1, 1 - width, -width - 1])[:, None]]
    across, down = near[1] + near[2] - 2 * near[0], near[3] + near[4] - 2 * near[0]
    both = (near[5] - near[6] - near[7] + near[8]) / 4
    no_edge = np.flatnonzero((across + down) ** 2 * _EDGE < (_EDGE + 1) ** 2 * (across * down - both**2))
    place = place[no_edge[np.argsort(-np.abs(near[0, no_edge]), kind="stable")[:KEPT]]]
    return place // (height * width), *np.divmod(place % (height * width), width)


def _vertex(before: Floats, middle: Floats, after: Floats) -> Floats:
    """Where a parabola through three values has its extremum, -0.5 to 0.5 from the middle one."""
    bend = before - 2 * middle + after
    bend = np.where(np.abs(bend) > 1e-6, bend, np.float32(np.inf))
    made: Floats = np.clip((before - after) / (2 * bend), -0.5, 0.5)
    return made


def _patches(layers: Floats, layer: NDArray[np.int64], place: Floats) -> Floats:
    """(2, m, 49) bilinear samples of two square grids around each place, repeated beyond the view's edges."""
    count, height, width = layers.shape
    layer = np.concatenate([layer, np.minimum(layer + _PER_OCTAVE, count - 1)])
    reach = np.concatenate([place[:, 2:], _CONTEXT * place[:, 2:]]) * _OFFSETS
    middle = np.concatenate([place, place])
    columns = (middle[:, :1] + reach).clip(0, np.float32(width - 1.001))
    rows = (middle[:, 1:2] + reach).clip(0, np.float32(height - 1.001))
    left, top = columns.astype(np.int64), rows.astype(np.int64)
    right, below = (columns - left)[:, None, :], (rows - top)[:, :, None]
    first = (layer[:, None] * (height * width) + top * width)[:, :, None] + left[:, None, :]
    flat = layers.reshape(-1)
    one, other = flat.take(first), flat.take(first + width)
    upper = one + (flat.take(first + 1) - one) * right
    lower = other + (flat.take(first + width + 1) - other) * right
    made: Floats = (upper + (lower - upper) * below).reshape(2, -1, _GRID * _GRID)
    return made
