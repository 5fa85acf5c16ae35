"""Pillow's 8-bit reduction of one band of an image to a few sizes at once, as exact matrix products.

A perceptual hash needs 32 × 32 or 9 × 8 pixels of a whole photograph. Pillow filters row by row in integer
arithmetic; the same sums as products with a (width, outputs) matrix are several times faster, and exact:
coefficients are multiples of 2⁻²² and every partial sum fits the 53 bits of a double. Source of the
coefficients and of the rounding: Pillow's ``libImaging/Resample.c`` (``precompute_coeffs``, ``clip8``).

Each product is kept below the size from which OpenBLAS starts threads: they would wait busily for the next one, and
workers already use every CPU.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PRECISION = 1 << 22
_STRIP = 1 << 16  # values converted to double at a time: what fits a near cache
_GROUP = 4
_ONE_THREAD = 1 << 18  # multiplications

Grey = NDArray[np.uint8]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """A filter of Pillow's: weights by distance, and the distance from which they are zero."""

    weight: Callable[[Doubles], Doubles]
    support: float


def _lanczos(offset: Doubles) -> Doubles:
    """sinc(x) sinc(x / 3), with one sine: sin 3y = (3 − 4 sin² y) sin y."""
    angle = np.where(offset == 0, 1e-20, offset) * (np.pi / 3)
    square = np.sin(angle) ** 2
    weight: Doubles = square * (3 - 4 * square) / (3 * angle * angle)
    return weight


def _bicubic(offset: Doubles) -> Doubles:
    """Keys' cubic with a = −0.5."""
    far = np.abs(offset)
    return np.where(far < 1, (1.5 * far - 2.5) * far * far + 1, (((far - 5) * far + 8) * far - 4) * -0.5)


LANCZOS, BICUBIC = Kernel(_lanczos, 3.0), Kernel(_bicubic, 2.0)


def rows_first(width: int, height: int) -> bool:
    """Whether ``reduced`` gives what Pillow gives.

    Pillow filters rows first unless an image is much taller than wide (since version 13) or small.
    """
    return width >= 64 and 2 * height <= 3 * width


def reduced(grey: Grey, sizes: tuple[tuple[int, int], ...], kernel: Kernel) -> list[Grey]:
    """``Image.resize`` of one 8-bit band, rows filtered first, for each (width, height).

    Args:
        grey: (height, width) uint8.
    """
    height, width = grey.shape
    bands = [band for columns, _ in sizes for band in _bands(width, columns, kernel)]
    across = np.empty((height, sum(columns for columns, _ in sizes)))
    rows = max(min(_STRIP // width, _ONE_THREAD // max(weights.size for _, _, weights in bands)), 1)
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
        down, top = np.empty((lines, columns)), 0
        for first, last, weights in _bands(height, lines, kernel):
            below = top + weights.shape[1]
            np.matmul(weights.T, across[first:last, left : left + columns], out=down[top:below])
            top = below
        found.append(_rounded(down).astype(np.uint8))
        left += columns
    return found


@functools.lru_cache(maxsize=256)
def _bands(length: int, outputs: int, kernel: Kernel) -> list[tuple[int, int, Doubles]]:
    """The (length, outputs) weights in groups of four columns or a few more, with the rows that are not all zero.

    Returns:
        First and last row (exclusive) of each group, and its weights; the identity where nothing is resized.
    """
    if length == outputs:
        return [(0, length, np.eye(length))]
    row, column, weight = _weights(length, outputs, kernel)
    groups = max(outputs // _GROUP, 1)
    edges = [outputs * group // groups for group in range(groups + 1)]
    bands = []
    for left, right in itertools.pairwise(edges):
        begin, end = np.searchsorted(column, [left, right])
        first, last = int(row[begin:end].min()), int(row[begin:end].max()) + 1
        dense = np.zeros((last - first, right - left))
        dense[row[begin:end] - first, column[begin:end] - left] = weight[begin:end]
        bands.append((first, last, dense))
    return bands


def _weights(length: int, outputs: int, kernel: Kernel) -> tuple[NDArray[np.int32], NDArray[np.int32], Doubles]:
    """Row, column and value of each weight that is not zero; each is a multiple of 2⁻²²."""
    scale = length / outputs
    stretch = max(scale, 1.0)
    centre = ((np.arange(outputs) + 0.5) * scale)[:, None]
    first = np.maximum((centre - kernel.support * stretch + 0.5).astype(np.int32), 0)
    last = np.minimum((centre + kernel.support * stretch + 0.5).astype(np.int32), length)
    at = first + np.arange(int((last - first).max()), dtype=np.int32)
    offset = (at - centre + 0.5) * (1.0 / stretch)
    weights = np.where(
        (at < last) & (offset >= -kernel.support) & (offset < kernel.support), kernel.weight(offset), 0.0
    )
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.trunc(weights * _PRECISION + np.copysign(0.5, weights)) / _PRECISION
    output, tap = np.nonzero(weights)
    return at[output, tap], output.astype(np.int32), weights[output, tap]


def _rounded(values: Doubles) -> Doubles:
    return np.clip(np.floor(values + 0.5, out=values), 0, 255, out=values)
