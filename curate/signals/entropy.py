"""How much the grey levels vary: Shannon entropy of the luminance histogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VERSION = 1
COLUMNS = {"entropy": "0–8 bits: Shannon entropy of the 256-level luminance histogram; 0 is one flat colour"}


def entropy(histogram: NDArray[np.int64]) -> dict[str, float]:
    """H = −Σ p log₂ p over the levels that occur, of a (256,) histogram."""
    share = histogram[histogram > 0] / histogram.sum()
    return {"entropy": float(-(share * np.log2(share)).sum()) + 0.0}
