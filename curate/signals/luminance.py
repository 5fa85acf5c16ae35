"""Exposure and contrast from the histogram of luminance."""

from __future__ import annotations

import numpy as np
from PIL import Image

VERSION = 1
PERCENTILES = (1, 5, 50, 95, 99)
COLUMNS = {
    **{f"luminance_p{percent}": f"0–255: percentile {percent} of luminance" for percent in PERCENTILES},
    "luminance_mean": "0–255: mean luminance",
    "contrast": "0–127.5: population standard deviation of luminance",
}


def luminance(grey: Image.Image) -> dict[str, float]:
    """Percentiles (inverted CDF: the smallest level that so many percent reach), mean and standard deviation.

    Luminance is ITU-R 601: (299 R + 587 G + 114 B) / 1000, Pillow's mode L.
    """
    counts = np.asarray(grey.histogram(), dtype=np.int64)
    levels = np.arange(256)
    total = int(counts.sum())
    mean = float(counts @ levels) / total
    variance = float(counts @ (levels - mean) ** 2) / total
    # Integer comparison: percent × total ≤ 100 × cumulated, exact for any size.
    reached = np.searchsorted(100 * counts.cumsum(), np.asarray(PERCENTILES) * total)
    found = {f"luminance_p{percent}": float(level) for percent, level in zip(PERCENTILES, reached, strict=True)}
    return {**found, "luminance_mean": mean, "contrast": variance**0.5}
