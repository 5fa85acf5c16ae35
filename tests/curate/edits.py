"""Photographs that come with libraries, and edited copies of them."""

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from tests.curate import sets

PHOTOS = ("astronaut", "coffee", "rocket", "chelsea")


@cache
def photo(name):
    """A photograph of skimage, 320 pixels wide."""
    from skimage import data

    picture = Image.fromarray(getattr(data, name)()).convert("RGB")
    return picture.resize((320, round(320 * picture.height / picture.width)), Image.Resampling.LANCZOS)


def _overlaid(picture):
    drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((0, picture.height * 0.85, picture.width, picture.height), fill="white")
    draw.text((10, picture.height * 0.9), "BREAKING NEWS FROM HERE", fill="black")
    return drawn


def _cropped(picture, share):
    width, height = picture.size
    left, top = width * (1 - share) / 2, height * (1 - share) / 2
    return picture.crop((round(left), round(top), round(width - left), round(height - top)))


def _turned(picture):
    return picture.rotate(5, Image.Resampling.BICUBIC, expand=False)


# The nine of the handed study, by the kind that each is.
EDITS = {
    "re-encoded": lambda picture: Image.open(_jpeg(picture)),
    "toned": lambda picture: ImageOps.grayscale(picture).convert("RGB"),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.4),
    "overlaid": _overlaid,
    "mirrored": ImageOps.mirror,
    "cropped": lambda picture: _cropped(picture, 0.8),
    "cropped-60": lambda picture: _cropped(picture, 0.6),
    "framed": lambda picture: ImageOps.expand(picture, 20, "black"),
    "turned": _turned,
}


def _jpeg(picture):
    import io

    return io.BytesIO(sets.jpeg(picture, 60))


def write(folder: Path, photos=PHOTOS, edits=tuple(EDITS)) -> None:
    """``originals.jsonl``: the photographs; ``rows.jsonl``: copies of each, edited; all ask the same."""
    originals, copies = [], []
    for name in photos:
        sets.save(folder / f"images/{name}.png", photo(name))
        originals.append(sets.row(name, f"{name}.png", "What is it?", name, source="held", split="test"))
        for edit in edits:
            sets.save(folder / f"images/{name}-{edit}.png", EDITS[edit](photo(name)))
            copies.append(sets.row(f"{name}-{edit}", f"{name}-{edit}.png", "What is it?", name))
    sets.write_lines(folder / "originals.jsonl", originals)
    sets.write_lines(folder / "rows.jsonl", copies)
