"""Pillow's 8-bit reduction of one band of an image to a few sizes at once, exactly.

A perceptual hash needs 32 × 32 or 9 × 8 pixels of a whole photograph. Source of the coefficients and of the rounding:
Pillow's ``libImaging/Resample.c`` (``precompute_coeffs``, ``clip8``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PRECISION = 1 << 22

Grey = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]
Singles = NDArray[np.float32]


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


def reduced(pixels: NDArray[Any], sizes: tuple[tuple[int, int], ...], kernel: Kernel, shift: int = 0) -> list[Grey]:
    """``Image.resize`` of one 8-bit band, rows filtered first, for each (width, height).

    Args:
        pixels: (height, width) whole numbers; the band begins at bit ``shift``.
    """
    from curate.signals.kernels.resampling import across, down

    height, width = pixels.shape
    strip = np.empty((height, sum(columns for columns, _ in sizes)), np.uint8)
    across(pixels, shift, *_taps(width, tuple(columns for columns, _ in sizes), kernel), strip)
    found, left = [], 0
    for columns, lines in sizes:
        made = np.empty((lines, columns), np.uint8)
        down(np.ascontiguousarray(strip[:, left : left + columns]), *_taps(height, (lines,), kernel)[:3], made)
        found.append(made)
        left += columns
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
    top, down = _dense(small.shape[0], size[0], spans[0], 1)
    left, across = _dense(small.shape[1], size[1], spans[1], 4)
    made = np.empty(size, np.uint8)
    resized(small, top, down, left, across, made)
    return made


def reduced_by(levels: Grey, factor: int) -> Grey:
    """``Image.reduce`` of one 8-bit band; the band itself for a factor of 1."""
    from curate.signals.kernels.levels import reduced as means

    if factor == 1:
        return levels
    made = np.empty([-(-side // factor) for side in levels.shape], np.uint8)
    means(levels, factor, made)
    return made


@functools.lru_cache(maxsize=256)
def _dense(length: int, outputs: int, span: float, least: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """First pixel and (outputs, taps) weights × 2²² of the bilinear filter; an even number of at least four taps."""
    first, count, weights = _weights(length, outputs, BILINEAR, span)
    inside = int(count.max())
    taps = inside if least == 1 else max(inside + inside % 2, least)
    begin = first if least > 1 else np.minimum(first, length - taps)
    dense = np.zeros((outputs, taps), np.int32)
    line = np.repeat(np.arange(outputs), count)
    tap = np.arange(len(weights)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first - begin, count)
    dense[line, tap] = np.rint(weights * _PRECISION)
    return begin.astype(np.int32 if least == 1 else np.uint64), dense


@functools.lru_cache(maxsize=256)
def _taps(length: int, outputs: tuple[int, ...], kernel: Kernel) -> tuple[Whole, Whole, Doubles, Singles, Singles]:
    """Of each output of some sizes its first pixel; where its weights begin; weights, also as float32; its doubt.

    Products of float32 summed in any order are off by at most (their number + 4) × 2⁻²⁴ of their amounts, those with
    128 less than a level; and the weights' sum, which is not quite 1, counts 128 times.
    """
    found = [_weights(length, size, kernel) for size in outputs]
    first, count, weights = (np.concatenate(each) for each in zip(*found, strict=True))
    begin = np.concatenate([[0], np.cumsum(count)])
    doubt = (count + 4) * 128 * np.add.reduceat(np.abs(weights), begin[:-1]) / (1 << 24) + 256 / (1 << 24)
    doubt += 128 * np.abs(np.add.reduceat(weights, begin[:-1]) - 1)
    return first, begin, weights, weights.astype(np.float32), doubt.astype(np.float32)


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
