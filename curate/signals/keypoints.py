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
_ONE_THREAD = 1 << 18  # multiplications, above which OpenBLAS starts threads, which would wait busily in every worker

Floats = NDArray[np.floating[Any]]


@functools.lru_cache(SIDE)
def _cosines(size: int) -> tuple[NDArray[np.float32], list[Floats]]:
    """The cosine transform (size, size) of a side, and what a Gaussian of each sigma leaves of its lowest waves.

    A Gaussian filter that reflects at the edges multiplies each wave by a number of its own; waves of which less than a
    thousandth is left are left out, which saves half of the work.
    """
    frequency = np.pi * np.arange(size) / size
    waves = np.cos(frequency[:, None] * (np.arange(size) + 0.5)) * np.sqrt(2 / size)
    waves[0] /= np.sqrt(2)
    kept = np.exp(-0.5 * (SIGMAS[:, None] * frequency) ** 2)
    return waves.astype(np.float32), [row[row > 1e-3].astype(np.float32) for row in kept]


@functools.lru_cache(4 * SIDE)
def _left(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32], list[tuple[int, int]]]:
    """Of all layers together: waves down, what is left of them with each wave across, and where each layer's lie."""
    down, across = _cosines(height)[1], _cosines(width)[1]
    shares = np.zeros((sum(map(len, down)), len(across[0])), np.float32)
    places, first = [], 0
    for y, x in zip(down, across, strict=True):
        shares[first : first + len(y), : len(x)] = y[:, None] * x
        places.append((first, first + len(y)))
        first += len(y)
    return np.concatenate([np.arange(len(y)) for y in down]), shares, places


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
    height, width = view.shape
    down, across = _cosines(height)[0], _cosines(width)[0]
    waves, shares, places = _left(height, width)
    spectrum = down @ view.astype(np.float32) @ across.T
    kept = spectrum[waves, : shares.shape[1]] * shares
    rows, lines = np.empty((len(kept), width), np.float32), max(_ONE_THREAD // (shares.shape[1] * width), 1)
    for first in range(0, len(kept), lines):
        np.matmul(kept[first : first + lines], across[: shares.shape[1]], out=rows[first : first + lines])
    made = np.empty((len(SIGMAS), height, width), np.float32)
    for layer, (first, last) in zip(made, places, strict=True):
        np.matmul(down[: last - first].T, rows[first:last], out=layer)
    return made
