"""Placeholders, blank pages, drawings: how much of the picture has one and the same grey level."""

from __future__ import annotations

from PIL import Image

VERSION = 1
COLUMNS = {"flat": "0–1: share of pixels that have the most common luminance level; 1 is blank"}


def flat(grey: Image.Image) -> dict[str, float]:
    """Largest histogram bin / number of pixels."""
    counts = grey.histogram()
    return {"flat": max(counts) / sum(counts)}
