"""Placeholders, blank pages, drawings: how much of the picture has one and the same grey level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VERSION = 1
COLUMNS = {"flat": "0–1: share of pixels that have the most common luminance level; 1 is blank"}


def flat(histogram: NDArray[np.int64]) -> dict[str, float]:
    """Largest bin of a (256,) histogram / number of pixels."""
    return {"flat": float(histogram.max() / histogram.sum())}
