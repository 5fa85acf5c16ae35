"""Image corruptions of a task: how robust are a model's answers to dark, blurred, noisy or compressed images?"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from winnow.files import atomic_path, digest_of
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode
from winnow.recipe import StrictModel

if TYPE_CHECKING:
    from PIL import Image


class Corruption(StrictModel):
    """What is done to every image before it is asked about, in the order of the attributes.

    Attributes:
        dark: factor of all values, above 0 and below 1 (``ImageEnhance.Brightness``).
        blur: radius of a Gaussian in pixels, up to 100 (``ImageFilter.GaussianBlur``).
        noise: standard deviation of Gaussian noise on every value, in steps of 255, up to 255; drawn by image,
            the same in every run.
        jpeg: quality 1 to 95 at which the image is saved as JPEG; without it, it is saved as PNG.
    """

    dark: Annotated[float, Field(gt=0, lt=1)] | None = None
    blur: Annotated[float, Field(gt=0, le=100)] | None = None
    noise: Annotated[float, Field(gt=0, le=255)] | None = None
    jpeg: Annotated[int, Field(ge=1, le=95)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Corruption:
        if not self.model_dump(exclude_none=True):
            raise ValueError("name one of dark, blur, noise, jpeg")
        return self

    @property
    def label(self) -> str:
        """For people: ``blur 2, jpeg 10``."""
        return ", ".join(f"{name} {value:g}" for name, value in self.model_dump(exclude_none=True).items())


def corrupted_file(data: bytes, key: str, corruption: Corruption, folder: Path) -> Path:
    """The corrupted image as a file in ``folder``, made if it is not there yet.

    Args:
        data: bytes of the image.
        key: their sha256, by which the file is named and its noise is drawn.

    Raises:
        ValueError: ``data`` is no image that can be decoded.
    """
    name = digest_of([key, corruption.model_dump()])
    path = folder / name[:2] / f"{name}.{'png' if corruption.jpeg is None else 'jpg'}"
    if path.is_file():
        return path
    image, facts = decode(data, max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    if image is None:
        raise ValueError(str(facts.error))
    buffer = BytesIO()
    image = _changed(image, corruption, seed=int(key[:16], 16))
    if corruption.jpeg is None:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=corruption.jpeg)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def _changed(image: Image.Image, corruption: Corruption, seed: int) -> Image.Image:
    import numpy as np
    from PIL import Image, ImageEnhance, ImageFilter

    if corruption.dark is not None:
        image = ImageEnhance.Brightness(image).enhance(corruption.dark)
    if corruption.blur is not None:
        image = image.filter(ImageFilter.GaussianBlur(corruption.blur))
    if corruption.noise is not None:
        values = np.asarray(image, dtype=np.float32)
        values = values + corruption.noise * np.random.default_rng(seed).standard_normal(values.shape, dtype=np.float32)
        image = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    return image
