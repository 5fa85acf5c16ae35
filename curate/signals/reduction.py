"""Pillow's 8-bit reduction of one band of an image to a few sizes at once, exactly.

A perceptual hash needs 32 × 32 or 9 × 8 pixels of a whole photograph. Source of the coefficients and of the rounding:
Pillow's ``libImaging/Resample.c`` (``precompute_coeffs``, ``clip8``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PRECISION = 1 << 22
_TOGETHER = 64  # taps: some of the processor's widest registers, so that no few are left over

Grey = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]


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


def _triangle(offset: Doubles) -> Doubles:
    weight: Doubles = np.maximum(1 - np.abs(offset), 0)
    return weight


LANCZOS, BICUBIC, BILINEAR = Kernel(_lanczos, 3.0), Kernel(_bicubic, 2.0), Kernel(_triangle, 1.0)


def rows_first(width: int, height: int) -> bool:
    """Whether ``reduced`` gives what Pillow gives.

    Pillow filters rows first unless an image is much taller than wide (since version 13) or small.
    """
    return width >= 64 and 2 * height <= 3 * width


def reduced(levels: Grey, sizes: tuple[tuple[int, int], ...], kernel: Kernel) -> list[Grey]:
    """``Image.resize`` of one 8-bit band (height, width), rows filtered first, for each (width, height)."""
    from curate.signals.kernels.resampling import across, down

    (height, width), found = levels.shape, []
    for columns, lines in sizes:
        strip, made = np.empty((height, columns), np.uint8), np.empty((lines, columns), np.uint8)
        across(levels, *_dense(width, columns, kernel, _TOGETHER), strip)
        down(strip, *_dense(height, lines, kernel), made)
        found.append(made)
    return found


def smaller(levels: Grey, longest: int, gap: float) -> Grey:
    """A copy whose longer side has ``longest`` pixels; the image itself if that has not more.

    It equals ``Image.resize`` with ``BILINEAR`` and ``reducing_gap=gap``, columns filtered first.

    Args:
        levels: (height, width) uint8.
    """
    from curate.signals.kernels.resampling import resized

    if max(levels.shape) <= longest:
        return levels
    share = longest / max(levels.shape)
    size = [max(round(side * share), 1) for side in levels.shape]
    factor = max(int(min(side / wanted for side, wanted in zip(levels.shape, size, strict=True)) / gap), 1)
    spans = [float(np.float32(side / factor)) for side in levels.shape]  # as exact as Pillow takes them
    small = reduced_by(levels, factor)
    top, down = _dense(small.shape[0], size[0], BILINEAR, 1, spans[0])
    left, across = _dense(small.shape[1], size[1], BILINEAR, 2, spans[1], beyond=True)
    made = np.empty(size, np.uint8)
    resized(small, top, down, left.astype(np.uint64), across, made)
    return made


def reduced_by(levels: Grey, factor: int) -> Grey:
    """``Image.reduce`` of one 8-bit band; the band itself for a factor of 1."""
    from curate.signals.kernels.levels import reduced as means

    if factor == 1:
        return levels
    made = np.empty([-(-side // factor) for side in levels.shape], np.uint8)
    means(levels, factor, made)
    return made


@functools.lru_cache(maxsize=512)
def _dense(
    length: int, outputs: int, kernel: Kernel, multiple: int = 1, span: float | None = None, beyond: bool = False
) -> tuple[Whole, NDArray[np.int32]]:
    """First pixel, and (outputs, taps) weights × 2²², of each output.

    Args:
        multiple: of which the number of taps is, if there are so many pixels; those that are too many have no weight.
        span: as of ``_weights``.
        beyond: whether taps may lie behind the last pixel; there are at least four then.
    """
    first, count, weights = _weights(length, outputs, kernel, span)
    taps = -(-int(count.max()) // multiple) * multiple
    taps = max(taps, 4) if beyond else min(taps, length)
    begin = first if beyond else np.minimum(first, length - taps)
    dense = np.zeros((outputs, taps), np.int32)
    line = np.repeat(np.arange(outputs), count)
    tap = np.arange(len(weights)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first - begin, count)
    dense[line, tap] = np.rint(weights * _PRECISION)
    return begin, dense


def _weights(length: int, outputs: int, kernel: Kernel, span: float | None = None) -> tuple[Whole, Whole, Doubles]:
    """First pixel and number of pixels of each output, and all weights, which are multiples of 2⁻²².

    Args:
        span: what of the length is seen, if its last pixel stands for less than one.
    """
    if length == outputs and span is None:
        return np.arange(length), np.ones(length, np.int64), np.ones(length)
    scale = (span or length) / outputs
    stretch = max(scale, 1.0)
    centre = ((np.arange(outputs) + 0.5) * scale)[:, None]
    first = np.maximum((centre - kernel.support * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + kernel.support * stretch + 0.5).astype(np.int64), length)
    at = first + np.arange(int((last - first).max()))
    offset = (at - centre + 0.5) * (1.0 / stretch)
    inside = at < last
    near = inside & (offset >= -kernel.support) & (offset < kernel.support)
    weights = np.where(near, kernel.weight(offset), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.trunc(weights * _PRECISION + np.copysign(0.5, weights)) / _PRECISION
    return first[:, 0], (last - first)[:, 0], weights[inside]
