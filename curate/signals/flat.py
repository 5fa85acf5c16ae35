"""Placeholders, blank pages, drawings: how much of the image has one and the same grey level."""

from __future__ import annotations

from curate.signals.pixels import Pixels

VERSION = 1
COLUMNS = {"flat": "0–1: share of pixels that have the most common luminance level; 1 is blank"}


def flat(pixels: Pixels) -> dict[str, float]:
    """Largest bin of the histogram / number of pixels."""
    return {"flat": float(pixels.histogram.max() / pixels.histogram.sum())}
