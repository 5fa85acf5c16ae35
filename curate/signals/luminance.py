"""Exposure and contrast from the histogram of luminance."""

from __future__ import annotations

import numpy as np

from curate.signals.pixels import Pixels

VERSION = 1
PERCENTILES = (1, 5, 50, 95, 99)
_LEVELS = np.arange(256)
COLUMNS = {
    **{f"luminance_p{percent}": f"0–255: percentile {percent} of luminance" for percent in PERCENTILES},
    "luminance_mean": "0–255: mean luminance",
    "contrast": "0–127.5: population standard deviation of luminance",
}


def luminance(pixels: Pixels) -> dict[str, float]:
    """Percentiles (inverted CDF: the smallest level that so many percent reach), mean and standard deviation."""
    histogram = pixels.histogram
    total = int(histogram.sum())
    mean = float(histogram @ _LEVELS) / total
    variance = float(histogram @ (_LEVELS - mean) ** 2) / total
    # Integer comparison: percent × total ≤ 100 × cumulated, exact for any size.
    reached = np.searchsorted(100 * histogram.cumsum(), np.asarray(PERCENTILES) * total)
    found = {f"luminance_p{percent}": float(level) for percent, level in zip(PERCENTILES, reached, strict=True)}
    return {**found, "luminance_mean": mean, "contrast": variance**0.5}
