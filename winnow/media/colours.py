"""Pixels of every mode as 8-bit RGB.

Transparent parts become white. Greys of 16 bits have their full range (65,535 is white). Greys of 32 bits, whole or
float, have no common range: floats within 0 and 1 and whole numbers within 0 and 255 are taken as that range; others
are scaled from their lowest value (black) to their highest (white), as ImageJ shows them. Colour profiles are not
applied, except that CIELAB is converted to sRGB.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, features

WITHOUT_RANGE = ("I", "F", "LAB")  # modes whose values are not those that libraries expect of a grey or colour
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}


def to_rgb(image: Image.Image) -> Image.Image | None:
    """8-bit RGB of a loaded image; None for modes without defined colours."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode == "F" or image.mode.startswith("I;16"):
        return _grey(image)
    if image.mode == "LAB":
        return _from_lab(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB") if image.mode in _PLAIN_MODES else None


def _grey(image: Image.Image) -> Image.Image | None:
    tags = getattr(image, "tag_v2", {})  # of a TIFF, some of which Pillow leaves to its caller
    stored = np.asarray(image)
    unsigned = stored.dtype == np.int32 and tags.get(_BITS, (0,))[0] == 32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1
    values = (stored.view(np.uint32) if unsigned else stored).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return None
    low, high = float(values[finite].min()), float(values[finite].max())
    black, white = _range(image, low, high)
    if tags.get(_PHOTOMETRIC) == 0:
        black, white = white, black
    scaled = np.where(finite, (values - black) / (white - black), 0.0)
    grey = (scaled.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _range(image: Image.Image, low: float, high: float) -> tuple[float, float]:
    """The values that are black and white, of an image whose values lie between ``low`` and ``high``."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        return 0, 0xFFFF
    usual = 1 if image.mode == "F" else 0xFF
    if low >= 0 and high <= usual:
        return 0, usual
    return (low, high) if low < high else (low - 1, low + 1)


def _from_lab(image: Image.Image) -> Image.Image | None:
    if not features.check("littlecms2"):
        return None
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
