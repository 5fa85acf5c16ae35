"""CleanVision's scores under its own names: low is bad, 1 is good, equal to the library's own values.

They are computed on the image as CleanVision opens it (its own mode, not turned, alpha ignored), so that
thresholds carry over unchanged; its defaults are dark < 0.32, light < 0.05, low_information < 0.3,
odd_aspect_ratio < 0.35, blurry < 0.29, grayscale = 0. Its seventh, ``odd_size_score``, compares an image with the
whole set; it is computed from the stored sizes when rules are evaluated (``curate.rules.columns``), always. Grey with
alpha, which makes CleanVision fail, is judged as it is seen. Formulas: https://github.com/cleanlab/cleanvision, 0.3.7.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageStat

from curate.signals.brightness import brightness_percentiles, grey_percentile
from curate.signals.pixels import Pixels, levels_of
from curate.signals.reduction import BICUBIC, reduced, rows_first

VERSION = 1
_NULL = "; null without `cleanvision: true`"
COLUMNS = {
    "dark_score": f"0–1: CleanVision's dark: percentile 99 of √(.241R² + .691G² + .068B²) / 255{_NULL}",
    "light_score": f"0–1: CleanVision's light: 1 − percentile 5 of the same{_NULL}",
    "low_information_score": f"0–1: CleanVision's low_information: entropy of all histograms in bits / 10{_NULL}",
    "odd_aspect_ratio_score": f"0–1: CleanVision's odd_aspect_ratio: shorter side / longer side{_NULL}",
    "blurry_score": f"0–1: CleanVision's blurry, at 64 px: spread of edges, and of the histogram's counts{_NULL}",
    "grayscale_score": f"0 or 1: CleanVision's grayscale: 0 if the file's mode is L{_NULL}",
}
_BLUR_SIDE = 64
_LARGE = 256  # pixels, from which matrix products are faster than Pillow
_SCALE, _FLAT_SPREAD = 0.01, 0.18
_DARK, _LIGHT = 99, 5


def cleanvision(pixels: Pixels) -> dict[str, float]:
    """All scores that need this image alone."""
    raw = pixels.original
    dark, light = _brightness(pixels)
    return {
        "dark_score": dark,
        "light_score": 1 - light,
        "low_information_score": min(0.1 * raw.entropy(), 1.0),
        "odd_aspect_ratio_score": min(raw.width / raw.height, raw.height / raw.width),
        "blurry_score": _blurry(raw),
        "grayscale_score": float(raw.mode != "L"),
    }


def _brightness(pixels: Pixels) -> tuple[float, float]:
    raw = pixels.original
    if raw.mode == "RGB" or raw.mode in ("LA", "PA", "La"):
        dark, light = brightness_percentiles(raw if raw.mode == "RGB" else pixels.rgb, (_DARK, _LIGHT))
        return dark, light
    if raw.mode in ("L", "P"):
        histogram = np.asarray(raw.histogram(), dtype=np.int64)
        return grey_percentile(histogram, _DARK), grey_percentile(histogram, _LIGHT)
    values = np.asarray(raw)
    if values.ndim == 3:
        bands = values[:, :, :3].astype(np.float64)
        brightness = np.sqrt(bands**2 @ (0.241, 0.691, 0.068)) / 255
    else:
        brightness = values / 255.0
    dark, light = np.percentile(brightness, [_DARK, _LIGHT])
    return float(dark), float(light)


def _blurry(raw: Image.Image) -> float:
    """1 − e^(−b/100), b the deviation of edges, plus the same of the histogram's counts where that is above 0.18."""
    ratio = max(raw.size) / _BLUR_SIDE
    small = _resized(raw, (max(int(raw.width // ratio), 1), max(int(raw.height // ratio), 1))) if ratio > 1 else raw
    grey = small.convert("L")
    edges = ImageStat.Stat(grey.filter(ImageFilter.FIND_EDGES)).var[0] ** 0.5
    spread = 1 - np.exp(-_SCALE * np.std(grey.histogram()))
    return min(float(1 - np.exp(-_SCALE * edges) + (spread if spread > _FLAT_SPREAD else 0)), 1.0)


def _resized(raw: Image.Image, size: tuple[int, int]) -> Image.Image:
    """``raw.resize(size)``; see ``reduction.rows_first`` for when the faster way is the same."""
    if raw.mode not in ("RGB", "L") or max(raw.size) < _LARGE or not rows_first(*raw.size):
        return raw.resize(size)
    bands = [Image.fromarray(reduced(levels_of(band), (size,), BICUBIC)[0]) for band in raw.split()]
    return Image.merge(raw.mode, bands)
