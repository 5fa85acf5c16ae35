"""One decoded image, or one text, in; numbers out. Pure: no thresholds, no files.

Each module has ``VERSION`` and ``COLUMNS`` (column → range, unit, meaning). Raise a module's
version when its numbers change: stored values of the old version are then measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from PIL import Image

from curate.signals import aspect, cleanvision, clip, entropy, flat, hashes, luminance, nsfw, sharpness, text, thumbnail
from curate.signals.pixels import Pixels

_MODULES = (hashes, thumbnail, sharpness, luminance, entropy, aspect, flat, cleanvision, clip, nsfw, text)
SIGNAL_VERSIONS: dict[str, int] = {module.__name__.rpartition(".")[2]: module.VERSION for module in _MODULES}
SIGNAL_COLUMNS: dict[str, dict[str, str]] = {module.__name__.rpartition(".")[2]: module.COLUMNS for module in _MODULES}

# The classical signals: image → columns. The models' are in clip.py and nsfw.py, those of texts in text.py.
IMAGE_SIGNALS: dict[str, Callable[[Pixels], dict[str, Any]]] = {
    "hashes": hashes.hashes,
    "thumbnail": thumbnail.thumbnail,
    "sharpness": sharpness.sharpness,
    "luminance": luminance.luminance,
    "entropy": entropy.entropy,
    "aspect": aspect.aspect_ratio,
    "flat": flat.flat,
    "cleanvision": cleanvision.cleanvision,
}


def measure_pixels(image: Image.Image, names: Iterable[str], original: Image.Image | None = None) -> dict[str, Any]:
    """The columns of the named classical signals of an RGB image.

    Args:
        original: the image in the file's own mode, where that is another one.
    """
    pixels = Pixels.of(image, original)
    columns: dict[str, Any] = {}
    for name in names:
        columns.update(IMAGE_SIGNALS[name](pixels))
    return columns


def describe() -> list[tuple[str, str, int, str]]:
    """Every signal column as (signal, column, version, meaning), for tables in help and docs."""
    return [
        (name, column, SIGNAL_VERSIONS[name], meaning)
        for name, columns in SIGNAL_COLUMNS.items()
        for column, meaning in columns.items()
    ]
