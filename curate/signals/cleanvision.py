"""CleanVision's scores under its own names: low is bad, 1 is good, equal to the library's own values.

They are computed on the image as CleanVision opens it (its own mode, not rotated, alpha ignored), so thresholds carry
over unchanged; its defaults are dark < 0.32, light < 0.05, low_information < 0.3, odd_aspect_ratio < 0.35,
blurry < 0.29, grayscale = 0. Its seventh score, ``odd_size_score``, compares an image with the whole set; it is always
there, computed from the stored sizes when rules are evaluated (``curate.rules.columns``). Grey with alpha, on which
CleanVision fails, is judged as it is seen. Formulas: https://github.com/cleanlab/cleanvision, 0.3.7.

Brightness is √(0.241 R² + 0.691 G² + 0.068 B²), Darel Finley's HSP model (alienryderflex.com/hsp.html). Its
percentiles are exact and need neither a square root nor a full sort: the square × 1000 is an integer, a sample of the
pixels says between which values a percentile very likely lies, and only those are sorted. Where it lies elsewhere, all
are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.signals.base import Grey, Pixels, Signal, words_of
from curate.signals.reduction import BICUBIC, reduced, reduced_colours, rows_first

_BLUR_SIDE = 64
_SCALE, _FLAT_SPREAD = 0.01, 0.18
_DARK, _LIGHT = 99, 5
_SAMPLE = 4096  # pixels, at least where there are so many
_MOST = np.uint32(255 * 255 * 1000)

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
    from curate.signals.kernels.brightness import look_over

    places = [percent / 100 * (len(words) - 1) for percent in (_DARK, _LIGHT)]
    ranks = np.array([[int(place), min(int(place) + 1, len(words) - 1)] for place in places])
    colours, (below, inside) = np.empty((3, 256), np.int64), np.empty((2, len(ranks)), np.int64)
    out = np.empty((len(ranks), len(words) + 8), np.uint32)
    # Where most ranks of a whole lie by a sample; if one does not, every square is looked at.
    anywhere = np.zeros(len(ranks), np.uint32), np.full(len(ranks), _MOST)
    for low, high in (_around(words, ranks) if len(words) >= 2 * _SAMPLE else anywhere, anywhere):
        look_over(words, low, high, below, inside, out, colours)
        if (ranks[:, 0] >= below).all() and (ranks[:, 1] < below + inside).all():
            break
    squares = [_pair(row[:count], *at) for row, count, at in zip(out, inside, ranks - below[:, None], strict=True)]
    dark, light = (
        low + (high - low) * (place % 1)
        for place, (low, high) in zip(places, np.sqrt(np.stack(squares) / 1000) / 255, strict=True)
    )
    share = colours[colours > 0] / colours.sum()
    return float(dark), float(light), float(-(share * np.log2(share)).sum()) + 0.0


def _pair(values: Words, rank: int, next_rank: int) -> Words:
    """The values of a rank and of the next one, or of the same."""
    split = np.partition(values, rank)
    return np.array([split[rank], split[next_rank:].min()])


def _around(words: Words, ranks: NDArray[np.int64]) -> tuple[Words, Words]:
    """Ends of a range in which each rank is very likely."""
    from curate.signals.kernels.brightness import sampled

    step = len(words) // _SAMPLE | 1  # odd: a grid is seldom in the picture as well
    found = np.empty(-(-len(words) // step), np.uint32)
    sampled(words, step, found)
    found.sort()
    share = ranks[:, 0] / len(words)
    place, doubt = share * len(found), 4 * np.sqrt(share * (1 - share) * len(found)) + 4
    ends = np.concatenate([[np.uint32(0)], found, [_MOST]])
    first, last = ((place + sign * doubt + 1).astype(np.int64).clip(0, len(ends) - 1) for sign in (-1, 1))
    return ends[first], ends[last]


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
    from curate.signals.kernels.brightness import outlines

    levels, found = np.empty(256, np.int64), np.empty(256, np.int64)
    outlines(_grey_at_64(pixels), levels, found)
    count, total, squared = int(found.sum()), int(found @ _LEVELS), int(found @ _LEVELS**2)
    edges = ((squared - total**2 / count) / count) ** 0.5
    spread = 1 - np.exp(-_SCALE * np.std(levels))
    return min(float(1 - np.exp(-_SCALE * edges) + (spread if spread > _FLAT_SPREAD else 0)), 1.0)


def _grey_at_64(pixels: Pixels) -> Grey:
    """The file's image with at most 64 pixels a side, then grey; in a faster way where ``rows_first`` allows it."""
    raw = pixels.original
    ratio = max(raw.size) / _BLUR_SIDE
    size = raw.size if ratio <= 1 else (max(int(raw.width // ratio), 1), max(int(raw.height // ratio), 1))
    if raw.mode not in ("RGB", "L") or ratio <= 1 or not rows_first(*raw.size):
        return np.array((raw if ratio <= 1 else raw.resize(size)).convert("L"))
    if raw.mode == "L":
        return np.ascontiguousarray(reduced(np.array(raw), (size,), BICUBIC)[0])
    red, green, blue = reduced_colours(_words(pixels), size, BICUBIC).astype(np.uint32)
    return np.asarray((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16, np.uint8)


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
