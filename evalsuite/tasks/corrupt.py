"""Image corruptions of a task: how robust are a model's answers to dark, blurred, noisy or compressed images?"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from winnow.recipe import StrictModel


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
