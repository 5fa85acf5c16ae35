"""CleanVision's scores under its own names: low is bad, 1 is good, equal to the library's own values.

They are computed on the image as CleanVision opens it (its own mode, not rotated, alpha ignored), so thresholds carry
over unchanged; its defaults are dark < 0.32, light < 0.05, low_information < 0.3, odd_aspect_ratio < 0.35,
blurry < 0.29, grayscale = 0. Its seventh score, ``odd_size_score``, compares an image with the whole set; it is always
there, computed from the stored sizes when rules are evaluated (``curate.rules.columns``). Grey with alpha, on which
CleanVision fails, is judged as it is seen. Formulas: https://github.com/cleanlab/cleanvision, 0.3.7.

Brightness is √(0.241 R² + 0.691 G² + 0.068 B²), Darel Finley's HSP model (alienryderflex.com/hsp.html). Its
percentiles are exact and need neither a square root nor a full sort: the square × 1000 is an integer, summed strip by
strip in 32 bits, and a percentile near an end needs that tail only. A sample of the pixels says where the tail begins,
and only what lies beyond is kept and sorted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageStat

from curate.signals.base import Pixels, Signal, levels_of, words_of
from curate.signals.reduction import BICUBIC, reduced, rows_first

_BLUR_SIDE = 64
_LARGE = 256  # pixels, from which matrix products are faster than Pillow
_SCALE, _FLAT_SPREAD = 0.01, 0.18
_DARK, _LIGHT = 99, 5


def cleanvision(pixels: Pixels) -> dict[str, float]:
    """All scores that need this image alone."""
    raw = pixels.original
    dark, light = _brightness(pixels)
    return {
        "dark_score": dark,
        "light_score": 1 - light,
        "low_information_score": min(0.1 * raw.entropy(), 1.0),
        "odd_aspect_ratio_score": min(raw.width / raw.height, raw.height / raw.width),
        "blurry_score": _blurry(raw),
        "grayscale_score": float(raw.mode != "L"),
    }


def _brightness(pixels: Pixels) -> tuple[float, float]:
    raw = pixels.original
    if raw.mode == "RGB" or raw.mode in ("LA", "PA", "La"):
        dark, light = brightness_percentiles(raw if raw.mode == "RGB" else pixels.rgb, (_DARK, _LIGHT))
        return dark, light
    if raw.mode in ("L", "P"):
        histogram = np.asarray(raw.histogram(), dtype=np.int64)
        return grey_percentile(histogram, _DARK), grey_percentile(histogram, _LIGHT)
    values = np.asarray(raw)
    if values.ndim == 3:
        bands = values[:, :, :3].astype(np.float64)
        brightness = np.sqrt(bands**2 @ (0.241, 0.691, 0.068)) / 255
    else:
        brightness = values / 255.0
    dark, light = np.percentile(brightness, [_DARK, _LIGHT])
    return float(dark), float(light)


def _blurry(raw: Image.Image) -> float:
    """1 − e^(−b/100), b the deviation of edges, plus the same of the histogram's counts where that is above 0.18."""
    ratio = max(raw.size) / _BLUR_SIDE
    small = _resized(raw, (max(int(raw.width // ratio), 1), max(int(raw.height // ratio), 1))) if ratio > 1 else raw
    grey = small.convert("L")
    edges = ImageStat.Stat(grey.filter(ImageFilter.FIND_EDGES)).var[0] ** 0.5
    spread = 1 - np.exp(-_SCALE * np.std(grey.histogram()))
    return min(float(1 - np.exp(-_SCALE * edges) + (spread if spread > _FLAT_SPREAD else 0)), 1.0)


def _resized(raw: Image.Image, size: tuple[int, int]) -> Image.Image:
    """``raw.resize(size)``; uses the faster way where ``reduction.rows_first`` says it is the same."""
    if raw.mode not in ("RGB", "L") or max(raw.size) < _LARGE or not rows_first(*raw.size):
        return raw.resize(size)
    bands = [Image.fromarray(reduced(levels_of(band), (size,), BICUBIC)[0]) for band in raw.split()]
    return Image.merge(raw.mode, bands)


_WEIGHTS = (241, 691, 68)  # thousandths of R², G², B²
_STRIP = 1 << 15  # pixels at a time: what fits a near cache
_SAMPLED = 1 << 13  # pixels that show where a tail begins
_MARGIN = 0.01  # share of the pixels by which a sampled tail is extended

Squares = NDArray[np.uint32]


def brightness_percentiles(rgb: Image.Image, percents: Sequence[int]) -> list[float]:
    """0–1: percentiles of brightness / 255, linear between ranks as ``numpy.percentile``.

    Args:
        percents: 0 to 100; cheap near either end.
    """
    squares = squared(words_of(rgb).reshape(-1))
    sample = np.sort(squares[:: max(len(squares) // _SAMPLED, 1)])
    return [_percentile(squares, sample, percent / 100) for percent in percents]


def grey_percentile(histogram: NDArray[np.int64], percent: int) -> float:
    """0–1: the same of an 8-bit grey image, whose brightness is its level / 255, from its (256,) histogram."""
    reached = histogram.cumsum()
    rank, share = divmod(percent / 100 * (int(reached[-1]) - 1), 1)
    low, high = (
        float(np.searchsorted(reached, min(rank + step, reached[-1] - 1), side="right")) / 255 for step in (0, 1)
    )
    return low + (high - low) * share


def squared(words: Squares) -> Squares:
    """1000 × squared brightness of pixels as ``words_of`` gives them."""
    found = np.empty_like(words)
    spare = np.empty(min(_STRIP, len(words)), np.uint32)
    for start in range(0, len(words), _STRIP):
        strip, out = words[start : start + _STRIP], found[start : start + _STRIP]
        band = spare[: len(strip)]
        out[:] = 0
        for place, weight in enumerate(_WEIGHTS):
            np.right_shift(strip, np.uint32(8 * place), out=band)
            np.bitwise_and(band, np.uint32(255), out=band)
            np.multiply(band, band, out=band)
            np.multiply(band, np.uint32(weight), out=band)
            np.add(out, band, out=out)
    return found


def _percentile(squares: Squares, sample: Squares, part: float) -> float:
    count = len(squares)
    rank, share = divmod(part * (count - 1), 1)
    wanted = [int(rank), min(int(rank) + 1, count - 1)]
    low, high = (math.sqrt(square / 1000) / 255 for square in _at_ranks(squares, sample, wanted))
    return low + (high - low) * share


def _at_ranks(squares: Squares, sample: Squares, wanted: list[int]) -> list[int]:
    """The values at the neighbouring ranks ``wanted`` of all squares in order."""
    count, last = len(squares), len(sample) - 1
    if wanted[0] < count // 2:
        bound = sample[min(int((wanted[1] / count + _MARGIN) * last) + 1, last)]
        tail = squares[squares <= bound]
        before = 0
    else:
        bound = sample[max(int((wanted[0] / count - _MARGIN) * last), 0)]
        tail = squares[squares >= bound]
        before = count - len(tail)
    if not before <= wanted[0] <= wanted[1] < before + len(tail):  # the sample was misleading
        tail, before = squares, 0
    ends = {int(value) for value in (tail.min(), tail.max())}
    if len(ends) == 1:  # a black or white background, on which selecting is slow
        return [ends.pop()] * len(wanted)
    ranks = [rank - before for rank in wanted]
    ordered = np.partition(tail, ranks)
    return [int(ordered[rank]) for rank in ranks]


_NULL = "; null without `cleanvision: true`"
SIGNALS = (
    Signal(
        "cleanvision",
        1,
        {
            "dark_score": f"0–1: CleanVision's dark: percentile 99 of √(.241R² + .691G² + .068B²) / 255{_NULL}",
            "light_score": f"0–1: CleanVision's light: 1 − percentile 5 of the same{_NULL}",
            "low_information_score": "0–1: CleanVision's low_information: entropy of all histograms in bits / 10"
            f"{_NULL}",
            "odd_aspect_ratio_score": f"0–1: CleanVision's odd_aspect_ratio: shorter side / longer side{_NULL}",
            "blurry_score": "0–1: CleanVision's blurry, at 64 px: spread of edges, and of the histogram's counts"
            f"{_NULL}",
            "grayscale_score": f"0 or 1: CleanVision's grayscale: 0 if the file's mode is L{_NULL}",
        },
        cleanvision,
    ),
)
