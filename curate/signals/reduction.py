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
from PIL import Image

_PRECISION = 1 << 22
_WIDEST = 1 << 20  # pixels, for which the kernels take 32 MiB
_LARGEST = 257  # factor of `kernels.levels.reduced`

Grey = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Kernel:
    """A filter of Pillow's: weights by distance, and the distance from which they are zero."""

    weight: Callable[[Doubles], Doubles]
    support: float
    pillows: Image.Resampling


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


LANCZOS = Kernel(_lanczos, 3.0, Image.Resampling.LANCZOS)
BICUBIC = Kernel(_bicubic, 2.0, Image.Resampling.BICUBIC)
BILINEAR = Kernel(_triangle, 1.0, Image.Resampling.BILINEAR)


def rows_first(width: int, height: int) -> bool:
    """Whether ``reduced`` gives what Pillow gives.

    Pillow filters rows first unless an image is much taller than wide (since version 13) or small.
    """
    return width >= 64 and 2 * height <= 3 * width


def reduced(levels: Grey, sizes: tuple[tuple[int, int], ...], kernel: Kernel) -> list[Grey]:
    """``Image.resize`` of one 8-bit band (height, width), rows filtered first, for each (width, height)."""
    height, width = levels.shape
    strips = [_across(levels, width, columns, kernel) for columns, _ in sizes]
    return [
        _across(strip, height, lines, kernel)[:, :columns]
        for strip, (columns, lines) in zip(strips, sizes, strict=True)
    ]


def reduced_colours(words: NDArray[np.uint32], size: tuple[int, int], kernel: Kernel) -> Grey:
    """(3, height, width): ``reduced`` of the colours of pixels as ``base.words_of`` gives them, for one size."""
    from curate.signals.kernels.resampling import LANES, across_colours

    (height, width), (columns, lines) = words.shape, size
    strips = np.empty((3, columns, _rounded_up(height, LANES)), np.uint8)
    across_colours(_with_rows(words), *packed(width, columns, kernel), strips)
    return np.stack([_across(strip, height, lines, kernel)[:, :columns] for strip in strips])


def _across(levels: Grey, width: int, outputs: int, kernel: Kernel, span: float | None = None) -> Grey:
    """(outputs, at least height): weighted sums of the first ``width`` pixels of each row, as columns."""
    from curate.signals.kernels.resampling import LANES, across

    height = len(levels)
    if width > _WIDEST:
        box = (0, 0, span or width, height)
        found = Image.fromarray(levels[:, :width]).resize((outputs, height), kernel.pillows, box)
        return np.ascontiguousarray(np.asarray(found).T)
    made = np.empty((outputs, _rounded_up(height, LANES)), np.uint8)
    across(_with_rows(levels), *packed(width, outputs, kernel, span), made)
    return made


def _with_rows(picture: NDArray[Any]) -> NDArray[Any]:
    """At least as many rows as the kernels take at once."""
    from curate.signals.kernels.resampling import LANES

    if len(picture) >= LANES:
        return picture
    made = np.zeros((LANES, picture.shape[1]), picture.dtype)
    made[: len(picture)] = picture
    made.setflags(write=picture.flags.writeable)  # for arrays of another kind the kernels would be compiled again
    return made


def _down(levels: Grey, outputs: int, kernel: Kernel, span: float) -> Grey:
    """(outputs, at least width): weighted sums of each column."""
    from curate.signals.kernels.resampling import LANES, down

    height, width = levels.shape
    if width < LANES:
        box = (0, 0, width, span)
        return np.array(Image.fromarray(levels).resize((width, outputs), kernel.pillows, box))
    made = np.empty((outputs, _rounded_up(width, LANES)), np.uint8)
    down(levels, *packed(height, outputs, kernel, span), made)
    return made


def smaller(levels: Grey, longest: int, gap: float) -> Grey:
    """A copy whose longer side has ``longest`` pixels; the image itself if that has not more.

    It equals ``Image.resize`` with ``BILINEAR`` and ``reducing_gap=gap``, columns filtered first.

    Args:
        levels: (height, width) uint8.
    """
    if max(levels.shape) <= longest:
        return levels
    share = longest / max(levels.shape)
    height, width = (max(round(side * share), 1) for side in levels.shape)
    factor = max(int(min(levels.shape[0] / height, levels.shape[1] / width) / gap), 1)
    spans = [float(np.float32(side / factor)) for side in levels.shape]  # as exact as Pillow takes them
    small = reduced_by(levels, factor)
    strip = _across(_down(small, height, BILINEAR, spans[0]), small.shape[1], width, BILINEAR, spans[1])
    return np.ascontiguousarray(strip[:, :height].T)


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def reduced_by(levels: Grey, factor: int) -> Grey:
    """``Image.reduce`` of one 8-bit band; the band itself for a factor of 1."""
    from curate.signals.kernels.levels import reduced as means

    if factor == 1:
        return levels
    if factor > _LARGEST:
        return np.array(Image.fromarray(levels).reduce(factor))
    made = np.empty([-(-side // factor) for side in levels.shape], np.uint8)
    means(levels, factor, made)
    return made


@functools.lru_cache(maxsize=512)
def packed(length: int, outputs: int, kernel: Kernel, span: float | None = None) -> tuple[Whole, NDArray[np.int32]]:
    """Of each output its first quad, and (outputs, words) parts of its weights × 2²² for ``kernels.resampling``.

    Args:
        span: as of ``_weights``.
    """
    from curate.signals.kernels.resampling import BYTES, QUAD

    first, count, weights = _weights(length, outputs, kernel, span)
    begin = first // QUAD
    steps = _rounded_up(int((first - QUAD * begin + count).max()), QUAD) // QUAD
    dense = np.zeros((outputs, QUAD * steps), np.int32)
    line = np.repeat(np.arange(outputs), count)
    nth = np.arange(len(weights)) - np.repeat(np.cumsum(count) - count, count)
    dense[line, nth + np.repeat(first - QUAD * begin, count)] = np.rint(weights * _PRECISION)
    quads: NDArray[Any] = dense.reshape(outputs, steps, QUAD)
    if BYTES:
        low = quads.astype(np.int8)
        middle = ((quads - low) >> 8).astype(np.int8)
        high = ((((quads - low) >> 8) - middle) >> 8).astype(np.int8)
        made: NDArray[Any] = np.stack([high, middle, low], axis=2)
    else:
        halves = np.stack([quads >> 8, quads & 255], axis=2).astype(np.int16)
        made = halves.reshape(outputs, steps, 2, 2, 2).swapaxes(3, 4)  # the bytes 0 and 2 of a quad, then 1 and 3
    return begin, np.ascontiguousarray(made).reshape(outputs, -1).view(np.int32)


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
