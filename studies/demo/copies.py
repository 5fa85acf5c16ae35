"""Images of four kinds and altered copies of them, to measure which copies count as the same image."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.signals import measure_pixels
from winnow.errors import UserError

_SYLLABLES = tuple(first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "on", "er"))
_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg")
_TEXTURES = ("brick.png", "grass.png", "gravel.png", "ihc.png", "motorcycle_left.png", "coins.png", "cell.png")
_PAGE = (600, 800)


def photographs(count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Tiles, 256×256, of the photographs that scikit-image and scikit-learn ship; no two overlap."""
    shipped = [_package("skimage") / "data" / name for name in (*_PHOTOS, *_TEXTURES)]
    shipped += [_package("sklearn") / "datasets/images" / name for name in ("china.jpg", "flower.jpg")]
    tiles = []
    for path in shipped:
        photo = Image.open(path).convert("RGB")
        side = max(96, round(max(photo.size) / 8))
        for left in range(0, photo.width - side + 1, side):
            tiles += [
                photo.crop((left, top, left + side, top + side)) for top in range(0, photo.height - side + 1, side)
            ]
    return [tiles[k].resize((256, 256)) for k in rng.permutation(len(tiles))[:count]]


def _package(name: str) -> Path:
    """Folder of an installed package, which is not imported: some take seconds."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"{name} is not installed: pip install 'winnow-vlm[demo,dev]'")
    return Path(spec.origin).parent


def drawings(count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Images of easy-vqa, 64×64: one flat shape on a flat background; no two are equal."""
    files = sorted((_package("easy_vqa") / "data/train/images").glob("*.png"))
    images: dict[bytes, Image.Image] = {}
    for k in rng.permutation(len(files)):
        image = Image.open(files[k]).convert("RGB")
        images.setdefault(image.tobytes(), image)
        if len(images) == count:
            break
    return list(images.values())


def pages(count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Pages of text, all with the same margins, font size and length."""
    return [_page(rng, heading=False, lines=32) for _ in range(count)]


def forms(count: int, rng: np.random.Generator) -> list[Image.Image]:
    """The same printed form, filled in differently: the images that are hardest to distinguish."""
    blank = _page(np.random.default_rng(1), heading=True, lines=12)
    pen = ImageDraw.Draw(blank)
    for row in range(8):
        pen.rectangle((60, 420 + 42 * row, 540, 456 + 42 * row), outline="black", width=2)
    made = []
    for _ in range(count):
        form = blank.copy()
        pen = ImageDraw.Draw(form)
        for row in range(8):
            pen.text((70, 426 + 42 * row), _words(rng, int(rng.integers(1, 5))), "navy", _font(20))
        made.append(form)
    return made


def _page(rng: np.random.Generator, *, heading: bool, lines: int) -> Image.Image:
    page = Image.new("RGB", _PAGE, "white")
    pen = ImageDraw.Draw(page)
    if heading:
        pen.text((60, 20), _words(rng, 3), "black", _font(26))
    for line in range(lines):
        text = _words(rng, 12)
        pen.text((60, 60 + 22 * line), text[: 58 if (line + 1) % 8 else int(rng.integers(10, 58))], "black", _font(16))
    return page


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join("".join(rng.choice(_SYLLABLES, int(rng.integers(1, 4)))) for _ in range(count))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


KINDS: dict[str, Callable[[int, np.random.Generator], list[Image.Image]]] = {
    "photographs": photographs,
    "drawings": drawings,
    "pages": pages,
    "forms": forms,
}


def _encoded(kind: str, quality: int) -> Callable[[Image.Image], Image.Image]:
    def encode(image: Image.Image) -> Image.Image:
        buffer = BytesIO()
        image.save(buffer, kind, quality=quality)
        return Image.open(buffer).convert("RGB")

    return encode


def _resized(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((round(image.width * factor), round(image.height * factor)))


def _cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    def crop(image: Image.Image) -> Image.Image:
        left, top = round(image.width * share), round(image.height * share)
        return image.crop((left, top, image.width - left, image.height - top))

    return crop


def _watermarked(image: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    size = max(8, image.width // 10)
    ImageDraw.Draw(layer).text(
        (image.width * 0.55, image.height - 1.4 * size), "© photo", (255, 255, 255, 150), _font(size)
    )
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


# A search for duplicates has to find these: the same image, only stored in another way.
RE_ENCODED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 90": _encoded("JPEG", 90),
    "JPEG, quality 60": _encoded("JPEG", 60),
    "JPEG, quality 30": _encoded("JPEG", 30),
    "WebP, quality 60": _encoded("WEBP", 60),
    "half as wide": _resized(0.5),
    "1.5 times as wide": _resized(1.5),
    "half as wide, JPEG 75": lambda image: _encoded("JPEG", 75)(_resized(0.5)(image)),
}
# These change what the image shows; whether they count as the same image is only reported.
EDITED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "watermark": _watermarked,
    "brightness +10%": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "brightness -25%": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
    "cropped by 2%": _cropped(0.01),
    "cropped by 10%": _cropped(0.05),
    "greyscale": lambda image: image.convert("L").convert("RGB"),
    "rotated by 2 degrees": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "rotated by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def fingerprints_of(images: list[Image.Image]) -> ImageFingerprints:
    """Hashes, thumbnails and sizes of images, measured as ``curate run`` does."""
    rows = [measure_pixels(image, ("hashes", "thumbnail")) for image in images]
    thumbnails = np.frombuffer(b"".join(row["thumbnail"] for row in rows), np.uint8).reshape(-1, 768)
    phash, dhash = (np.array([row[name] for row in rows], np.uint64) for name in ("phash", "dhash"))
    return ImageFingerprints.of(phash, dhash, thumbnails, np.array([min(image.size) for image in images]))


def different_pairs(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Indices (first, second) of all pairs of images that look different.

    Two tiles of the same black sky do not: no duplicate search could distinguish them, or needs to.
    """
    first, second = np.triu_indices(len(images), 1)
    shown = np.stack([np.asarray(image.convert("L").resize((64, 64)), np.int16) for image in images])
    differ = np.array([np.abs(shown[i] - shown[j]).max() > 40 for i, j in zip(first, second, strict=True)])
    return first[differ], second[differ]
