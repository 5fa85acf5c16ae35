"""CleanVision's scores under its own names: low is bad, 1 is good, equal to the library's own values.

They are computed on the image as CleanVision opens it (its own mode, not rotated, alpha ignored), so thresholds carry
over unchanged; its defaults are dark < 0.32, light < 0.05, low_information < 0.3, odd_aspect_ratio < 0.35,
blurry < 0.29, grayscale = 0. Its seventh score, ``odd_size_score``, compares an image with the whole set; it is always
there, computed from the stored sizes when rules are evaluated (``curate.rules.columns``). Grey with alpha, on which
CleanVision fails, is judged as it is seen. Formulas: https://github.com/cleanlab/cleanvision, 0.3.7.

Brightness is √(0.241 R² + 0.691 G² + 0.068 B²), Darel Finley's HSP model (alienryderflex.com/hsp.html). Its
percentiles are exact and need neither a square root nor a full sort: the square × 1000 is an integer of 26 bits, a
histogram of its highest ten says in which bin a percentile lies, and only that bin is sorted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from curate.signals.base import Pixels, Signal, bands_of, words_of
from curate.signals.reduction import BICUBIC, reduced, rows_first

_BLUR_SIDE = 64
_SCALE, _FLAT_SPREAD = 0.01, 0.18
_DARK, _LIGHT = 99, 5

Words = NDArray[np.uint32]


def cleanvision(pixels: Pixels) -> dict[str, float]:
    """All scores that need this image alone."""
    raw = pixels.original
    dark, light, entropy = _colours(_words(pixels).reshape(-1)) if raw.mode == "RGB" else _of_other_modes(pixels)
    return {
        "dark_score": dark,
        "light_score": 1 - light,
        "low_information_score": min(0.1 * entropy, 1.0),
        "odd_aspect_ratio_score": min(raw.width / raw.height, raw.height / raw.width),
        "blurry_score": _blurry(pixels),
        "grayscale_score": float(raw.mode != "L"),
    }


def _words(pixels: Pixels) -> Words:
    """Of the image as its file has it."""
    return pixels.words if pixels.original is pixels.rgb else words_of(pixels.original)


def _colours(words: Words) -> tuple[float, float, float]:
    """Percentiles 99 and 5 of brightness / 255, linear between ranks as ``numpy.percentile``; Pillow's entropy.

    Args:
        words: pixels in one line, as ``words_of`` gives them.
    """
    from curate.signals.kernels.brightness import SHIFT, histograms, squares_in

    colours, bins = np.empty((3, 256), np.int64), np.empty((255 * 255 * 1000 >> SHIFT) + 1, np.int64)
    histograms(words, colours, bins)
    reached = bins.cumsum()
    places = [percent / 100 * (len(words) - 1) for percent in (_DARK, _LIGHT)]
    ranks = np.array([[int(place), min(int(place) + 1, len(words) - 1)] for place in places])
    of_ranks = reached.searchsorted(ranks, side="right")
    wanted = np.zeros(len(bins), np.bool_)
    wanted[of_ranks] = True
    left_out = (bins * ~wanted).cumsum()  # up to each bin
    some = np.empty(int(reached[-1] - left_out[-1]), np.uint32)
    squares_in(words, wanted, some)
    some.sort()
    dark, light = (
        low + (high - low) * (place % 1)
        for place, (low, high) in zip(places, np.sqrt(some[ranks - left_out[of_ranks]] / 1000) / 255, strict=True)
    )
    share = colours[colours > 0] / colours.sum()
    return float(dark), float(light), float(-(share * np.log2(share)).sum()) + 0.0


def _of_other_modes(pixels: Pixels) -> tuple[float, float, float]:
    """The same of an image that is not RGB in its file."""
    raw = pixels.original
    if raw.mode in ("LA", "PA", "La"):
        return *_colours(pixels.words.reshape(-1))[:2], raw.entropy()
    if raw.mode in ("L", "P"):
        histogram = np.asarray(raw.histogram(), dtype=np.int64)
        return grey_percentile(histogram, _DARK), grey_percentile(histogram, _LIGHT), raw.entropy()
    values = np.asarray(raw)
    if values.ndim == 3:
        bands = values[:, :, :3].astype(np.float64)
        brightness = np.sqrt(bands**2 @ (0.241, 0.691, 0.068)) / 255
    else:
        brightness = values / 255.0
    dark, light = np.percentile(brightness, [_DARK, _LIGHT])
    return float(dark), float(light), raw.entropy()


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
    return Image.fromarray(np.stack([reduced(band, (size,), BICUBIC)[0] for band in bands_of(_words(pixels))], axis=2))


_LEVELS = np.arange(256)


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
