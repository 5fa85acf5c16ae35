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
    from curate.signals.kernels.points import describe, extrema

    # One image at a time: its layers fit a cache, and its keypoints do not depend on the images around it.
    layers = _blurred(view)
    detail = layers[1:] - layers[:-1]
    found = np.empty(KEPT, np.int64)
    found = found[: extrema(detail, _FAINT, _EDGE, found)]
    place, words = np.empty((len(found), 3), np.float32), np.empty(len(found), np.uint64)
    unsure = np.empty((len(found), PROBED), np.uint8)
    describe(
        layers, detail, found, SIGMAS, _OFFSETS, _PER_OCTAVE, _CONTEXT, _WAVES, _WIDE, place, words, unsure, KEY_BITS
    )
    made = np.empty(len(found), POINT)
    made["word"], made["place"], made["unsure"] = words, np.rint(place * STEPS), unsure
    return made


def _blurred(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(10, height, width): the view after a Gaussian filter of each of ``SIGMAS``."""
    (down, left_down), (across, left_across) = (_cosines(size) for size in view.shape)
    spectrum = down @ view.astype(np.float32) @ across.T
    made = np.empty((len(SIGMAS), *view.shape), np.float32)
    for layer, (y, x) in enumerate(zip(left_down, left_across, strict=True)):
        kept = spectrum[: len(y), : len(x)] * y[:, None] * x
        np.matmul(down[: len(y)].T, kept @ across[: len(x)], out=made[layer])
    return made
