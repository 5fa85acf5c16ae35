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
# As ``curate.signals.kernels.resampling`` has them, which is imported late.
_FOUR, _MANY, _FEW = 4, 16, 8

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
    from curate.signals.kernels.resampling import across

    (height, width), found = levels.shape, []
    for columns, lines in sizes:
        strip = np.empty((columns, _rounded_up(height, _FOUR)), np.uint8)
        across(levels, *_halves(width, columns, kernel), strip)
        found.append(_lower(strip, height, lines, kernel))
    return found


def reduced_colours(words: NDArray[np.uint32], size: tuple[int, int], kernel: Kernel) -> Grey:
    """(height, width, 3): ``reduced`` of the colours of pixels as ``base.words_of`` gives them, for one size."""
    from curate.signals.kernels.resampling import across_colours

    (height, width), (columns, lines) = words.shape, size
    strips = np.empty((3, columns, _rounded_up(height, _FOUR)), np.uint8)
    across_colours(words, *_halves(width, columns, kernel), strips)
    return np.stack([_lower(strip, height, lines, kernel) for strip in strips], axis=2)


def _lower(strip: Grey, height: int, lines: int, kernel: Kernel) -> Grey:
    """(lines, columns) of a strip (columns, at least ``height``), of which each column lies in a row."""
    from curate.signals.kernels.resampling import across

    made = np.empty((lines, _rounded_up(len(strip), _FOUR)), np.uint8)
    across(strip, *_halves(height, lines, kernel), made)
    return made[:, : len(strip)]


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
    height, width = (max(round(side * share), 1) for side in levels.shape)
    factor = max(int(min(levels.shape[0] / height, levels.shape[1] / width) / gap), 1)
    spans = [float(np.float32(side / factor)) for side in levels.shape]  # as exact as Pillow takes them
    small = reduced_by(levels, factor)
    top, down = _inside(small.shape[0], height, BILINEAR, spans[0])
    made = np.empty((height, _rounded_up(width, _FOUR)), np.uint8)
    resized(small, top, down, *_halves(small.shape[1], width, BILINEAR, _FEW, spans[1]), made)
    return np.ascontiguousarray(made[:, :width])


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def reduced_by(levels: Grey, factor: int) -> Grey:
    """``Image.reduce`` of one 8-bit band; the band itself for a factor of 1."""
    from curate.signals.kernels.levels import reduced as means

    if factor == 1:
        return levels
    made = np.empty([-(-side // factor) for side in levels.shape], np.uint8)
    means(levels, factor, made)
    return made


@functools.lru_cache(maxsize=512)
def _halves(
    length: int, outputs: int, kernel: Kernel, multiple: int = _MANY, span: float | None = None
) -> tuple[Whole, NDArray[np.int16]]:
    """First pixel, and (outputs, 2, taps) high and low parts of the weights × 2²², of each output.

    Where taps are few, outputs without any weight make their number a multiple of four.

    Args:
        multiple: of which the number of taps is, of which some may lie behind the last pixel.
        span: as of ``_weights``.
    """
    first, count, weights = _weights(length, outputs, kernel, span)
    dense = _dense(first, first, count, weights, _rounded_up(int(count.max()), multiple))
    more = (_rounded_up(outputs, _FOUR) if multiple == _FEW else outputs) - outputs
    first, dense = np.pad(first, (0, more)), np.pad(dense, ((0, more), (0, 0)))
    return first, np.stack([dense >> 8, dense & 255], axis=1).astype(np.int16)


@functools.lru_cache(maxsize=512)
def _inside(length: int, outputs: int, kernel: Kernel, span: float) -> tuple[Whole, NDArray[np.int32]]:
    """First pixel, and (outputs, taps) weights × 2²², of each output, whose taps all lie inside."""
    first, count, weights = _weights(length, outputs, kernel, span)
    taps = int(count.max())
    begin = np.minimum(first, length - taps)
    return begin, _dense(begin, first, count, weights, taps)


def _dense(begin: Whole, first: Whole, count: Whole, weights: Doubles, taps: int) -> NDArray[np.int32]:
    """(outputs, taps) weights × 2²² of the taps from ``begin`` on."""
    dense = np.zeros((len(first), taps), np.int32)
    line = np.repeat(np.arange(len(first)), count)
    tap = np.arange(len(weights)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first - begin, count)
    dense[line, tap] = np.rint(weights * _PRECISION)
    return dense


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
