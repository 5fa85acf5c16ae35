"""What CLIP sees: an RGB image resized and cropped as the model's own preprocessing does, kept as uint8.

Needs no torch, so that the processes that decode images can prepare it. Equal to
``open_clip.transform.image_transform`` (inference) up to its last two stages, which
``curate.signals.clip`` does on whole batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_MAX_ASPECT = 64


@dataclass(frozen=True, slots=True)
class ClipInput:
    """Size and way of resizing.

    Attributes:
        height, width: of the model's input in pixels.
        resize_mode: ``shortest`` (then centre crop), ``longest`` (then pad) or ``squash``.
        bilinear: otherwise bicubic.
        fill: grey level of the padding.
    """

    height: int
    width: int
    resize_mode: str = "shortest"
    bilinear: bool = False
    fill: int = 0


def clip_pixels(image: Image.Image, wanted: ClipInput) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 for the model.

    An image more than 64 times longer than wide is cropped to that at its centre first, so that
    its enlargement fits in memory; the model sees only the centre of it anyhow.
    """
    size = (wanted.width, wanted.height)
    method = Image.Resampling.BILINEAR if wanted.bilinear else Image.Resampling.BICUBIC
    if wanted.resize_mode == "squash":
        return np.asarray(image.resize(size, method))
    if max(image.size) > _MAX_ASPECT * min(image.size):
        limit = _MAX_ASPECT * min(image.size)
        image = _centre(image, min(image.width, limit), min(image.height, limit))
    if wanted.resize_mode == "longest":
        ratio = max(image.height / wanted.height, image.width / wanted.width)
        small = image.resize((max(round(image.width / ratio), 1), max(round(image.height / ratio), 1)), method)
        return np.asarray(_padded(small, *size, wanted.fill))
    if wanted.height == wanted.width:
        side, (short, long) = wanted.width, sorted(image.size)
        scaled = int(side * long / short)
        target = (side, scaled) if image.width <= image.height else (scaled, side)
    else:
        ratio = min(image.height / wanted.height, image.width / wanted.width)
        target, method = (round(image.width / ratio), round(image.height / ratio)), Image.Resampling.BICUBIC
    small = image if target == image.size else image.resize(target, method)
    return np.asarray(_centre(small, *size))


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _padded(image: Image.Image, width: int, height: int, fill: int) -> Image.Image:
    across, down = width - image.width, height - image.height
    border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
    return ImageOps.expand(image, border, (fill, fill, fill))
