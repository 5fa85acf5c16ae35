"""Defects of image files, injected on purpose so that curation has something known to find.

Every image gets at most one of these. All choices come from the generator that is passed in.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from PIL import Image, ImageFilter

CORRUPT = ("truncated", "empty", "not_an_image", "wrong_extension", "missing")
IMAGE_DEFECTS = ("blurred", "near_duplicate", *CORRUPT)
MINIMUM_IMAGES = 20  # with fewer, one image a defect leaves no clean ones

BLUR_SIGMA = (1.5, 3.0)  # pixels, on images of 64 × 64
KEPT_SHARE = (0.35, 0.65)  # of a truncated file's bytes; the pixel data always ends early
JPEG_QUALITIES = (90, 75, 60, 40)
WEBP_QUALITIES = (90, 70, 50)
RESIZED_SIDES = (44, 52, 80, 96)
ERROR_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n"
    b"<body><h1>Not Found</h1><p>The requested URL was not found on this server.</p></body></html>\n"
)


@dataclass(frozen=True, slots=True)
class Shares:
    """Share of the train split that each defect affects; a share above 0 means at least one case.

    Attributes:
        wrong_answer, contradictory: of the train questions, drawn from images without a defect of their own.
        leaked: of the test images.
        others: of the train images; each image gets one of them at most.
    """

    blurred: float = 0.04
    near_duplicate: float = 0.05
    truncated: float = 0.02
    empty: float = 0.02
    not_an_image: float = 0.02
    wrong_extension: float = 0.02
    missing: float = 0.02
    leaked: float = 0.04
    wrong_answer: float = 0.03
    contradictory: float = 0.02

    def some(self, *names: str) -> dict[str, float]:
        """The shares of these defects, in this order."""
        return {name: getattr(self, name) for name in names}

    def named(self) -> dict[str, float]:
        """All shares by name."""
        return asdict(self)

    @classmethod
    def only(cls, **shares: float) -> Shares:
        """These defects and no others."""
        return cls(**{share.name: 0.0 for share in fields(cls)} | shares)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Bytes to write under a name that ends in ``suffix`` (None for no file), and what was done to them."""

    data: bytes | None
    suffix: str = ".png"
    detail: dict[str, Any] = field(default_factory=dict)


def choose(ids: Sequence[int], shares: dict[str, float], rng: random.Random) -> dict[int, str]:
    """Give each id at most one defect: id → defect, for the ids that get one."""
    drawn = iter(rng.sample(ids, len(ids)))
    return {next(drawn): defect for defect, share in shares.items() for _ in range(count(share, len(ids)))}


def count(share: float, total: int) -> int:
    """The share as a number of cases: 0 for 0, else at least 1."""
    return max(1, round(share * total)) if share else 0


def spoiled(data: bytes, defect: str, rng: random.Random) -> ImageFile:
    """The PNG ``data`` after ``defect``, one of IMAGE_DEFECTS but 'near_duplicate'."""
    if defect == "blurred":
        sigma = round(rng.uniform(*BLUR_SIGMA), 2)
        return ImageFile(_encode(_open(data).filter(ImageFilter.GaussianBlur(sigma)), "PNG"), detail={"sigma": sigma})
    if defect == "truncated":
        kept = int(len(data) * rng.uniform(*KEPT_SHARE))
        return ImageFile(data[:kept], detail={"bytes_kept": kept, "bytes": len(data)})
    if defect == "empty":
        return ImageFile(b"")
    if defect == "not_an_image":
        return ImageFile(ERROR_PAGE, detail={"content": "HTML"})
    if defect == "wrong_extension":
        return ImageFile(_encode(_open(data), "JPEG", quality=95, subsampling=0), detail={"content": "JPEG"})
    if defect == "missing":
        return ImageFile(None)
    raise ValueError(f"unknown defect {defect!r}")


def copied(data: bytes, rng: random.Random) -> ImageFile:
    """A near-duplicate of the PNG ``data``: as JPEG or WebP, or resized; never the same pixels."""
    image = _open(data)
    while True:
        kind = rng.choice(("jpeg", "webp", "resized"))
        if kind == "resized":
            side = rng.choice(RESIZED_SIDES)
            resized = image.resize((side, side), Image.Resampling.BICUBIC)
            return ImageFile(_encode(resized, "PNG"), detail={"treatment": kind, "side": side})
        quality = rng.choice(JPEG_QUALITIES if kind == "jpeg" else WEBP_QUALITIES)
        encoded = _encode(image, kind.upper(), quality=quality)
        if _open(encoded).tobytes() != image.tobytes():
            suffix = ".jpg" if kind == "jpeg" else ".webp"
            return ImageFile(encoded, suffix, {"treatment": kind, "quality": quality})


def leaked(data: bytes, rng: random.Random) -> ImageFile:
    """A test image leaked into train: the same bytes (one in three), or a near-duplicate."""
    if rng.random() < 1 / 3:
        return ImageFile(data, detail={"treatment": "identical"})
    return copied(data, rng)


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
