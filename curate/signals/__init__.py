"""One decoded image, or one text, in; numbers out. Pure: no thresholds, no files.

Each module has ``VERSION`` and ``COLUMNS`` (column → range, unit, meaning). Raise a module's
version when its numbers change: stored values of the old version are then measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.signals import aspect, clip, entropy, flat, hashes, luminance, nsfw, sharpness, text, thumbnail

_MODULES = (hashes, thumbnail, sharpness, luminance, entropy, aspect, flat, clip, nsfw, text)
SIGNAL_VERSIONS: dict[str, int] = {module.__name__.rpartition(".")[2]: module.VERSION for module in _MODULES}
SIGNAL_COLUMNS: dict[str, dict[str, str]] = {module.__name__.rpartition(".")[2]: module.COLUMNS for module in _MODULES}

Histogram = NDArray[np.int64]

# The classical signals: (RGB image, its luminance, the (256,) histogram of that) → columns.
# The models' signals are in clip.py and nsfw.py, those of texts in text.py.
IMAGE_SIGNALS: dict[str, Callable[[Image.Image, Image.Image, Histogram], dict[str, Any]]] = {
    "hashes": lambda image, grey, histogram: hashes.hashes(grey),
    "thumbnail": lambda image, grey, histogram: thumbnail.thumbnail(image),
    "sharpness": lambda image, grey, histogram: sharpness.sharpness(image, grey, histogram),
    "luminance": lambda image, grey, histogram: luminance.luminance(histogram),
    "entropy": lambda image, grey, histogram: entropy.entropy(histogram),
    "aspect": lambda image, grey, histogram: aspect.aspect_ratio(image),
    "flat": lambda image, grey, histogram: flat.flat(histogram),
}


def measure_pixels(image: Image.Image, names: Iterable[str]) -> dict[str, Any]:
    """The columns of the named classical signals of an RGB image."""
    grey = image.convert("L")
    histogram = np.asarray(grey.histogram(), dtype=np.int64)
    columns: dict[str, Any] = {}
    for name in names:
        columns.update(IMAGE_SIGNALS[name](image, grey, histogram))
    return columns


def describe() -> list[tuple[str, str, int, str]]:
    """Every signal column as (signal, column, version, meaning), for tables in help and docs."""
    return [
        (name, column, SIGNAL_VERSIONS[name], meaning)
        for name, columns in SIGNAL_COLUMNS.items()
        for column, meaning in columns.items()
    ]
