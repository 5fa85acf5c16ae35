"""One decoded image, or one text, in; numbers out. Pure: no thresholds, no files.

Each module lists its signals in ``SIGNALS`` or ``IMAGE_MODELS``; a module in this folder is found by itself. Raise a
signal's version when its numbers change: stored values of the old version are then remeasured.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import random
from collections.abc import Iterable
from typing import Any

from PIL import Image

from curate.signals.base import ImageModel, Pixels, Signal

# Stored columns come in this order; modules that are not named follow, in the order of the alphabet.
_FIRST = ("hashes", "pixels", "cleanvision", "clip", "nsfw", "text")
_NAMES = [*_FIRST, *sorted({found.name for found in pkgutil.iter_modules(__path__)} - set(_FIRST))]
_MODULES = [importlib.import_module(f"curate.signals.{name}") for name in _NAMES]
SIGNALS: dict[str, Signal] = {signal.name: signal for module in _MODULES for signal in getattr(module, "SIGNALS", ())}
# Models that read every image in a stage of their own (``curate.measure.image_models``).
IMAGE_MODELS: dict[str, ImageModel] = {
    model.name: model for module in _MODULES for model in getattr(module, "IMAGE_MODELS", ())
}
# Those that are computed from the decoded image alone.
PIXEL_SIGNALS = tuple(name for name, signal in SIGNALS.items() if signal.compute is not None)


def measure_pixels(image: Image.Image, names: Iterable[str], original: Image.Image | None = None) -> dict[str, Any]:
    """The columns of some signals of an RGB image.

    Args:
        names: from ``PIXEL_SIGNALS``.
        original: the image in the file's own mode, if that is another one.
    """
    decoded = Pixels(image, image if original is None else original)
    columns: dict[str, Any] = {}
    for name in names:
        compute = SIGNALS[name].compute
        if compute is None:
            raise ValueError(f"{name} is not computed from pixels")
        columns.update(compute(decoded))
    return columns


@functools.cache
def prepare(names: tuple[str, ...]) -> None:
    """Load, or on a machine's first run compile, what signals need: no image should be charged with that time.

    Every process begins with other signals, and finds compiled what another one was faster with.
    """
    image = Image.linear_gradient("L").resize((400, 300)).convert("RGB")
    measure_pixels(image, random.Random(os.getpid()).sample(names, len(names)))


def describe() -> list[tuple[str, str, int, str]]:
    """Every signal column as (signal, column, version, meaning), for tables in help and docs."""
    return [
        (signal.name, column, signal.version, meaning)
        for signal in SIGNALS.values()
        for column, meaning in signal.columns.items()
    ]
