"""Pillow's 8-bit Lanczos reduction of a grey picture to a few sizes at once, as exact matrix products.

A perceptual hash needs 32 × 32 or 9 × 8 pixels of a whole photograph. Pillow filters row by row in integer
arithmetic; the same sums as products with a (width, outputs) matrix are several times faster, and exact:
coefficients are multiples of 2⁻²² and every partial sum fits the 53 bits of a double. Source of the
coefficients and of the rounding: Pillow's ``libImaging/Resample.c`` (``precompute_coeffs``, ``clip8``).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_SUPPORT = 3.0
_PRECISION = 1 << 22
_STRIP = 1 << 16  # values converted to double at a time: what fits a near cache
_GROUP = 8

Grey = NDArray[np.uint8]


def reduced(grey: Grey, sizes: tuple[tuple[int, int], ...]) -> list[Grey]:
    """``Image.resize(size, LANCZOS)`` of a grey picture, rows filtered first, for each (width, height).

    Args:
        grey: (height, width) uint8.
    """
    height, width = grey.shape
    bands = [band for columns, _ in sizes for band in _bands(width, columns)]
    across = np.empty((height, sum(columns for columns, _ in sizes)))
    rows = max(_STRIP // width, 1)
    for start in range(0, height, rows):
        strip, out = grey[start : start + rows].astype(np.float64), across[start : start + rows]
        left = 0
        for first, last, weights in bands:
            right = left + weights.shape[1]
            np.matmul(strip[:, first:last], weights, out=out[:, left:right])
            left = right
    across = _rounded(across)
    found, left = [], 0
    for columns, lines in sizes:
        down = _matrix(height, lines).T @ across[:, left : left + columns]
        found.append(_rounded(down).astype(np.uint8))
        left += columns
    return found


@functools.lru_cache(maxsize=256)
def _bands(length: int, outputs: int) -> list[tuple[int, int, NDArray[np.float64]]]:
    """``_matrix`` in groups of eight columns or a few more, each with the rows that it does not leave at zero."""
    bands = []
    for group in np.array_split(_matrix(length, outputs), max(outputs // _GROUP, 1), axis=1):
        used = np.flatnonzero(group.any(axis=1))
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((first, last, np.ascontiguousarray(group[first:last])))
    return bands


def _matrix(length: int, outputs: int) -> NDArray[np.float64]:
    """(length, outputs) weights; the identity where nothing is resized."""
    if length == outputs:
        return np.eye(length)
    row, column, weight = _weights(length, outputs)
    dense = np.zeros((length, outputs))
    dense[row, column] = weight
    return dense


@functools.lru_cache(maxsize=1024)
def _weights(length: int, outputs: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Row, column and value of each weight that is not zero; each is a multiple of 2⁻²²."""
    scale = length / outputs
    stretch = max(scale, 1.0)
    centre = ((np.arange(outputs) + 0.5) * scale)[:, None]
    first = np.maximum((centre - _SUPPORT * stretch + 0.5).astype(np.int32), 0)
    last = np.minimum((centre + _SUPPORT * stretch + 0.5).astype(np.int32), length)
    at = first + np.arange(int((last - first).max()), dtype=np.int32)
    offset = (at - centre + 0.5) * (1.0 / stretch)
    weights = np.where((at < last) & (offset >= -_SUPPORT) & (offset < _SUPPORT), _window(offset), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.trunc(weights * _PRECISION + np.copysign(0.5, weights)) / _PRECISION
    output, tap = np.nonzero(weights)
    return at[output, tap], output.astype(np.int32), weights[output, tap]


def _window(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sinc(offset) * np.sinc(offset / _SUPPORT)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.floor(values + 0.5, out=values), 0, 255, out=values)
