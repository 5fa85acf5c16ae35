"""Placeholders, blank pages, drawings: how much of the picture has one and the same grey level."""

from __future__ import annotations

from curate.signals.picture import Picture

VERSION = 1
COLUMNS = {"flat": "0–1: share of pixels that have the most common luminance level; 1 is blank"}


def flat(picture: Picture) -> dict[str, float]:
    """Largest bin of the histogram / number of pixels."""
    return {"flat": float(picture.histogram.max() / picture.histogram.sum())}
