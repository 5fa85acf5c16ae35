"""CleanVision's scores under its own names: low is bad, 1 is good, equal to the library's own values.

They are computed on the image as CleanVision opens it (its own mode, not rotated, alpha ignored), so thresholds carry
over unchanged; its defaults are dark < 0.32, light < 0.05, low_information < 0.3, odd_aspect_ratio < 0.35,
blurry < 0.29, grayscale = 0. Its seventh score, ``odd_size_score``, compares an image with the whole set; it is always
there, computed from the stored sizes when rules are evaluated (``curate.rules.columns``). Grey with alpha, on which
CleanVision fails, is judged as it is seen. Formulas: https://github.com/cleanlab/cleanvision, 0.3.7.

Brightness is √(0.241 R² + 0.691 G² + 0.068 B²), Darel Finley's HSP model (alienryderflex.com/hsp.html). Its
percentiles are exact and need neither a square root nor a full sort: the square × 1000 is an integer of 32 bits, and a
percentile near an end needs that end only. A sample of the pixels says where it begins, and only what lies beyond is
kept and sorted.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from curate.signals.base import Pixels, Signal, words_of
from curate.signals.reduction import BICUBIC, reduced, rows_first

_BLUR_SIDE = 64
_SCALE, _FLAT_SPREAD = 0.01, 0.18
_DARK, _LIGHT = 99, 5

Words = NDArray[np.uint32]


def cleanvision(pixels: Pixels) -> dict[str, float]:
    """All scores that need this image alone."""
    raw = pixels.original
    dark, light = _brightness(pixels)
    return {
        "dark_score": dark,
        "light_score": 1 - light,
        "low_information_score": min(0.1 * _entropy(pixels), 1.0),
        "odd_aspect_ratio_score": min(raw.width / raw.height, raw.height / raw.width),
        "blurry_score": _blurry(pixels),
        "grayscale_score": float(raw.mode != "L"),
    }


def _words(pixels: Pixels) -> Words:
    """Of the image as its file has it."""
    return pixels.words if pixels.original is pixels.rgb else words_of(pixels.original)


def _brightness(pixels: Pixels) -> tuple[float, float]:
    raw = pixels.original
    if raw.mode == "RGB" or raw.mode in ("LA", "PA", "La"):
        words = _words(pixels) if raw.mode == "RGB" else pixels.words
        return brightness_percentiles(words.reshape(-1))
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


def _entropy(pixels: Pixels) -> float:
    """Pillow's: −Σ p log₂ p over the levels of all bands together."""
    if pixels.original.mode != "RGB":
        return pixels.original.entropy()
    from curate.signals.kernels.brightness import histograms

    counts = np.empty((3, 256), np.int64)
    histograms(_words(pixels).reshape(-1), counts)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def _blurry(pixels: Pixels) -> float:
    """1 − e^(−b/100), b the deviation of edges, plus the same of the histogram's counts where that is above 0.18."""
    grey = _at_64(pixels).convert("L")
    counts = np.bincount(np.frombuffer(grey.filter(ImageFilter.FIND_EDGES).tobytes(), np.uint8), minlength=256)
    count, total, squared = int(counts.sum()), int(counts @ _LEVELS), int(counts @ _LEVELS**2)
    edges = ((squared - total**2 / count) / count) ** 0.5
    spread = 1 - np.exp(-_SCALE * np.std(np.bincount(np.frombuffer(grey.tobytes(), np.uint8), minlength=256)))
    return min(float(1 - np.exp(-_SCALE * edges) + (spread if spread > _FLAT_SPREAD else 0)), 1.0)


def _at_64(pixels: Pixels) -> Image.Image:
    """The file's image with at most 64 pixels a side; in the faster way where ``rows_first`` says it is the same."""
    raw = pixels.original
    ratio = max(raw.size) / _BLUR_SIDE
    if ratio <= 1:
        return raw
    size = max(int(raw.width // ratio), 1), max(int(raw.height // ratio), 1)
    if raw.mode not in ("RGB", "L") or not rows_first(*raw.size):
        return raw.resize(size)
    if raw.mode == "L":
        return Image.fromarray(reduced(np.array(raw), (size,), BICUBIC)[0])
    words = _words(pixels)
    bands = [reduced(words, (size,), BICUBIC, shift)[0] for shift in (0, 8, 16)]
    return Image.fromarray(np.stack(bands, axis=2))


_LEVELS = np.arange(256)
_SAMPLED = 1 << 13  # pixels that show where the ends begin
_MARGIN = 0.01  # share of the pixels by which an end is extended


def brightness_percentiles(words: Words) -> tuple[float, float]:
    """0–1: percentiles 99 and 5 of brightness / 255, linear between ranks as ``numpy.percentile``.

    Args:
        words: pixels in one line, as ``words_of`` gives them.
    """
    from curate.signals.kernels.brightness import ends, squares

    count = len(words)
    every = max(count // _SAMPLED, 1)
    sample = np.empty(-(-count // every), np.uint32)
    squares(words, every, sample)
    sample.sort()
    last = len(sample) - 1
    low = sample[min(int((_LIGHT / 100 + _MARGIN) * last) + 1, last)]
    high = sample[max(int((_DARK / 100 - _MARGIN) * last), 0)]
    dim, bright = np.empty(count, np.uint32), np.empty(count, np.uint32)
    below, above = ends(words, low, high, dim, bright)
    return (
        _percentile(bright[:above], count - above, count, _DARK, words),
        _percentile(dim[:below], 0, count, _LIGHT, words),
    )


def _percentile(part: Words, before: int, count: int, percent: int, words: Words) -> float:
    """Of ``count`` squares, of which ``part`` has those from rank ``before`` on."""
    rank, share = divmod(percent / 100 * (count - 1), 1)
    wanted = [int(rank), min(int(rank) + 1, count - 1)]
    if not before <= wanted[0] <= wanted[1] < before + len(part):  # the sample was misleading
        from curate.signals.kernels.brightness import squares

        part, before = np.empty(count, np.uint32), 0
        squares(words, 1, part)
    # On a black or white background selecting is slow.
    ordered = part if part.min() == part.max() else np.partition(part, [rank - before for rank in wanted])
    low, high = (math.sqrt(int(ordered[rank - before]) / 1000) / 255 for rank in wanted)
    return low + (high - low) * share


def grey_percentile(histogram: NDArray[np.int64], percent: int) -> float:
    """0–1: the same of an 8-bit grey image, whose brightness is its level / 255, from its (256,) histogram."""
    reached = histogram.cumsum()
    rank, share = divmod(percent / 100 * (int(reached[-1]) - 1), 1)
    low, high = (
        float(np.searchsorted(reached, min(rank + step, reached[-1] - 1), side="right")) / 255 for step in (0, 1)
    )
    return low + (high - low) * share


_NULL = "; null without `cleanvision: true`"
SIGNALS = (
    Signal(
        "cleanvision",
        2,
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
