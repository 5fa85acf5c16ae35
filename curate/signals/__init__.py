"""One decoded image, or one text, in; numbers out. Pure: no thresholds, no files.

Each module has ``VERSION`` and ``COLUMNS`` (column → range, unit, meaning). Raise a module's
version when its numbers change: stored values of the old version are then measured anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from curate.signals import aspect, clip, entropy, flat, hashes, luminance, nsfw, sharpness, text, thumbnail

_MODULES = (hashes, thumbnail, sharpness, luminance, entropy, aspect, flat, clip, nsfw, text)
SIGNAL_VERSIONS: dict[str, int] = {module.__name__.rpartition(".")[2]: module.VERSION for module in _MODULES}
SIGNAL_COLUMNS: dict[str, dict[str, str]] = {module.__name__.rpartition(".")[2]: module.COLUMNS for module in _MODULES}

# The classical signals: (RGB image, its luminance) → columns. The models' are in clip.py and nsfw.py.
IMAGE_SIGNALS: dict[str, Callable[[Image.Image, Image.Image], dict[str, Any]]] = {
    "hashes": lambda image, grey: hashes.hashes(grey),
    "thumbnail": lambda image, grey: thumbnail.thumbnail(image),
    "sharpness": sharpness.sharpness,
    "luminance": lambda image, grey: luminance.luminance(grey),
    "entropy": lambda image, grey: entropy.entropy(grey),
    "aspect": lambda image, grey: aspect.aspect_ratio(image),
    "flat": lambda image, grey: flat.flat(grey),
}


def describe() -> list[tuple[str, str, int, str]]:
    """Every signal column as (signal, column, version, meaning), for tables in help and docs."""
    return [
        (name, column, SIGNAL_VERSIONS[name], meaning)
        for name, columns in SIGNAL_COLUMNS.items()
        for column, meaning in columns.items()
    ]
