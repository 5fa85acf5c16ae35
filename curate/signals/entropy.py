"""How much the grey levels vary: Shannon entropy of the luminance histogram."""

from __future__ import annotations

import numpy as np

from curate.signals.pixels import Pixels

VERSION = 1
COLUMNS = {"entropy": "0–8 bits: Shannon entropy of the 256-level luminance histogram; 0 is one flat colour"}


def entropy(pixels: Pixels) -> dict[str, float]:
    """H = −Σ p log₂ p over the levels that occur."""
    counts = pixels.histogram[pixels.histogram > 0]
    share = counts / counts.sum()
    return {"entropy": float(-(share * np.log2(share)).sum()) + 0.0}
