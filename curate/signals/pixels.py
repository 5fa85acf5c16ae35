"""The classical signals of a decoded image: sharpness, luminance, entropy, aspect ratio and flatness.

Sharpness tells how much of an edge's contrast lies in one pixel step: blur, without being fooled by flat areas. Across
every edge of the image (in rows and in columns), r = |I[x+1] − I[x]| / (max − min over the eight pixels around it),
taken only where the step is the steepest of four neighbouring ones and the range is at least ``gate`` (a quarter of
the image's range, 8 to 24 levels). The score is 100 × the 90th percentile of r. A step edge gives 100 however faint;
one blurred by a Gaussian of σ pixels gives about 40/σ (38 at σ=1, 20 at σ=2); a wide ramp gives 1/7, so 14 is the
floor. The score depends on edge width only: not on contrast, on how much of the image is flat, or on its size. Images
without edges have no score.

It is measured at two scales: ``sharpness`` on a copy whose longer side is at most 1024 pixels, ``sharpness_coarse`` on
one of at most 256 and at most half the image. Soft at both is blurred; soft only at the fine one is an image enlarged
beyond its detail. Measuring edge width is the idea of Marziliano et al. 2002 ("A no-reference perceptual blur
metric"); the ratio and its constants are ours, measured on drawings, photographs and pages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.signals.base import Grey, Pixels, Signal, lines_of
from curate.signals.reduction import reduced_by

_FINE_SIDE = 1024
_COARSE_SIDE = 256
_LINES = 64
_GATE = (8, 24)
_MIN_EDGES = 8
_QUANTILE = 0.9


def sharpness(pixels: Pixels) -> dict[str, float | None]:
    """Scores at both scales. Where luminance has no edges, the colour channel with the widest range is used."""
    longest = max(pixels.rgb.size)
    factors = -(-longest // _FINE_SIDE), max(2, -(-longest // _COARSE_SIDE))
    gate = _gate(pixels.histogram)
    scores = [_score(reduced_by(pixels.levels, factor), gate) for factor in factors]
    if None in scores:
        spread = [high - low for low, high in pixels.rgb.getextrema()]  # type: ignore[misc]  # RGB has pairs
        channel = pixels.rgb.getchannel(spread.index(max(spread)))
        gate = _gate(np.asarray(channel.histogram()))
        scores = [
            _score(reduced_by(np.array(channel), factor), gate) if score is None else score
            for factor, score in zip(factors, scores, strict=True)
        ]
    return dict(zip(("sharpness", "sharpness_coarse"), scores, strict=True))


def _gate(histogram: NDArray[np.int64]) -> int:
    """A quarter of the range between percentiles 1 and 99, within limits."""
    low, high = percentiles(histogram, (1, 99))
    return min(max((high - low) // 4, _GATE[0]), _GATE[1])


def _score(levels: Grey, gate: int) -> float | None:
    # Some hundred lines give the same score as all of them at a fraction of the cost.
    ratios = edge_ratios(lines_of(levels, _LINES), gate)
    if len(ratios) < _MIN_EDGES:
        return None
    rank = int(_QUANTILE * (len(ratios) - 1))
    ratios.view(np.uint32).partition(rank)  # the bits of floats above zero are in their order, and faster
    return float(100 * ratios[rank])


def edge_ratios(pictures: Sequence[Grey], gate: int) -> NDArray[np.float32]:
    """r of every edge along axis 1; see the module's docstring.

    Args:
        pictures: (n, length) grey values each.
        gate: smallest range, in grey levels, that counts as an edge.
    """
    from curate.signals.kernels.lines import edges

    found, count = np.empty(sum(lines.size for lines in pictures), np.float32), 0
    for lines in pictures:
        count += edges(lines, gate, found[count:])
    return found[:count]


PERCENTILES = (1, 5, 50, 95, 99)
_LEVELS = np.arange(256)


def luminance(pixels: Pixels) -> dict[str, float]:
    """Exposure and contrast: percentiles (inverted CDF: the smallest level that reaches them), mean and deviation."""
    histogram = pixels.histogram
    count, total, squares = int(histogram.sum()), int(histogram @ _LEVELS), int(histogram @ _LEVELS**2)
    reached = percentiles(histogram, PERCENTILES)
    found = {f"luminance_p{percent}": float(level) for percent, level in zip(PERCENTILES, reached, strict=True)}
    return {**found, "luminance_mean": total / count, "contrast": (count * squares - total**2) ** 0.5 / count}


def percentiles(histogram: NDArray[np.int64], percents: Sequence[int]) -> list[int]:
    """The smallest level that each percentage reaches, of a (256,) histogram."""
    reached = histogram.cumsum()
    # Percent × total ≤ 100 × cumulated, in whole numbers: exact for any size.
    return [int(reached.searchsorted(-(-percent * int(reached[-1]) // 100))) for percent in percents]


def entropy(pixels: Pixels) -> dict[str, float]:
    """How much the grey levels vary: H = −Σ p log₂ p over the levels that occur."""
    counts = pixels.histogram[pixels.histogram > 0]
    share = counts / counts.sum()
    return {"entropy": float(-(share * np.log2(share)).sum()) + 0.0}


def aspect_ratio(pixels: Pixels) -> dict[str, float]:
    """Width divided by height of the image as seen."""
    return {"aspect_ratio": pixels.rgb.width / pixels.rgb.height}


def flat(pixels: Pixels) -> dict[str, float]:
    """Largest bin of the histogram / number of pixels; high for placeholders, blank pages and drawings."""
    return {"flat": float(pixels.histogram.max() / pixels.histogram.sum())}


SIGNALS = (
    Signal(
        "sharpness",
        1,
        {
            "sharpness": "0–100, null without edges: share of an edge's contrast in one pixel step; about 40/σ after"
            " blur σ",
            "sharpness_coarse": "the same on a copy of at most 256 px and half size",
        },
        sharpness,
    ),
    Signal(
        "luminance",
        2,
        {
            **{f"luminance_p{percent}": f"0–255: percentile {percent} of luminance" for percent in PERCENTILES},
            "luminance_mean": "0–255: mean luminance",
            "contrast": "0–127.5: population standard deviation of luminance",
        },
        luminance,
    ),
    Signal(
        "entropy",
        1,
        {"entropy": "0–8 bits: Shannon entropy of the 256-level luminance histogram; 0 is one flat colour"},
        entropy,
    ),
    Signal("aspect", 1, {"aspect_ratio": "> 0: width / height after EXIF orientation"}, aspect_ratio),
    Signal("flat", 1, {"flat": "0–1: share of pixels that have the most common luminance level; 1 is blank"}, flat),
)
