"""Frames, collages and drawn pictures: what ``curate.signals.layout`` finds, and its false alarms on photographs.

    git clone https://github.com/BIDS/BSDS500
    git clone https://github.com/zzzDavid/ICDAR-2019-SROIE      # receipts, scanned
    python -m studies.layout --photos BSDS500/BSDS500/data/images/test --receipts ICDAR-2019-SROIE/data/img --docs

Collages and frames are made of the photographs; screenshots and plots are drawn here, and all is saved as JPEG of
quality 85 once. Thresholds were chosen on BSDS500's train photographs.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from curate.signals import measure_pixels
from studies.demo.copies import KINDS
from studies.harmless import PAGE, above, photographs_of
from winnow.text import table

_BEGIN, _END = "<!-- layout: begin -->", "<!-- layout: end -->"
_RULES = {"frame > 0.05": ("frame", 0.05), "seam > 0.6": ("seam", 0.6), "drawn > 0.5": ("drawn", 0.5)}
_EACH = 100  # pictures that are drawn
Make = Callable[[list[Image.Image], np.random.Generator], Iterable[Image.Image]]


def collages(columns: int, rows: int, gap: int) -> Make:
    """Grids of photographs, 480 pixels and less wide, with a white gap of so many pixels."""

    def make(photos: list[Image.Image], rng: np.random.Generator) -> Iterator[Image.Image]:
        side = (480 // columns, 480 // rows)
        for _ in photos:
            sheet = Image.new("RGB", (columns * (side[0] + gap) - gap, rows * (side[1] + gap) - gap), "white")
            chosen = rng.choice(len(photos), columns * rows, replace=False).tolist()
            for place, at in enumerate(chosen):
                left, top = (place % columns) * (side[0] + gap), (place // columns) * (side[1] + gap)
                sheet.paste(ImageOps.fit(photos[at], side), (left, top))
            yield sheet

    return make


def framed(colour: str | None) -> Make:
    """Photographs in a frame of a tenth of their width; of their own blurred picture without a colour."""

    def make(photos: list[Image.Image], rng: np.random.Generator) -> Iterator[Image.Image]:
        for photo in photos:
            width = photo.width // 10
            frame = ImageOps.expand(photo, width, colour or "black")
            if colour is None:
                frame = photo.resize(frame.size).filter(ImageFilter.GaussianBlur(12))
                frame.paste(photo, (width, width))
            yield frame

    return make


def screenshots(photos: list[Image.Image], rng: np.random.Generator) -> Iterator[Image.Image]:
    """Windows with a bar, a list, text and a photograph that fills a sixth of the picture."""
    for photo in photos[:_EACH]:
        dark = rng.random() < 0.5
        paper, ink, panel = ("#1e1e1e", "#dddddd", "#2d2d30") if dark else ("white", "#222222", "#f0f0f0")
        screen = Image.new("RGB", (1280, 800), paper)
        pen = ImageDraw.Draw(screen)
        pen.rectangle((0, 0, 1280, 40), "#3b5bdb" if rng.random() < 0.5 else panel)
        pen.rectangle((0, 40, 240, 800), panel)
        for line in range(24):
            pen.text((20, 60 + 30 * line), f"item {rng.integers(10**6)}", ink)
            words = " ".join(str(rng.integers(10 ** int(rng.integers(1, 9)))) for _ in range(int(rng.integers(4, 14))))
            pen.text((270, 60 + 30 * line), words, ink)
        screen.paste(ImageOps.fit(photo, (480, 360)), (760, 80))
        yield screen


def plots(photos: list[Image.Image], rng: np.random.Generator) -> Iterator[Image.Image]:
    """Figures of one to six panels."""
    from matplotlib.figure import Figure

    for _ in range(_EACH):
        figure = Figure(figsize=(6, 4), dpi=100)
        for axes in np.ravel(figure.subplots(int(rng.integers(1, 3)), int(rng.integers(1, 4)))):
            axes.plot(np.cumsum(rng.standard_normal((50, int(rng.integers(1, 4)))), axis=0))
            axes.set_title("loss by step")
        file = io.BytesIO()
        figure.savefig(file, format="png")
        yield Image.open(file).convert("RGB")


def drawn(kind: str) -> Make:
    """Pictures of ``studies.demo.copies``."""
    return lambda photos, rng: KINDS[kind](_EACH, rng)


SETS: dict[str, Make] = {
    "photographs": lambda photos, rng: photos,
    "collages 2 × 1": collages(2, 1, 0),
    "collages 2 × 2": collages(2, 2, 0),
    "collages 3 × 3": collages(3, 3, 0),
    "collages 2 × 2, white gap of 8 pixels": collages(2, 2, 8),
    "framed in black": framed("black"),
    "framed in white": framed("white"),
    "framed in their blurred self": framed(None),
    "screenshots": screenshots,
    "plots of 1–6 panels": plots,
    "pages": drawn("pages"),
    "forms": drawn("forms"),
    "easy-vqa's drawings": drawn("drawings"),
}


def main() -> None:
    """Print the table; with ``--docs`` write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--receipts", type=Path, required=True, help="a folder of scanned receipts")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {PAGE}")
    given = parser.parse_args()
    photos = [Image.open(path).convert("RGB") for path in photographs_of(given.photos)]
    sets = {name: make(photos, np.random.default_rng(0)) for name, make in SETS.items()}
    files = photographs_of(given.receipts)[:200]
    sets["scanned receipts"] = (Image.open(path).convert("RGB") for path in files)
    lines = [[name, *line_of(images)] for name, images in sets.items()]
    shown = table(["pictures", "n", *(f"`{rule}`" for rule in _RULES)], lines)
    print(shown)
    if given.docs:
        page = PAGE.read_text(encoding="utf-8")
        page = re.sub(f"{_BEGIN}.*{_END}", lambda _: f"{_BEGIN}\n{shown}\n{_END}", page, flags=re.DOTALL)
        PAGE.write_text(page, encoding="utf-8")


def line_of(images: Iterable[Image.Image]) -> list[str]:
    """How many there are, and how many of them each rule fires on, with Wilson's 95% interval."""
    measured = [measure_pixels(saved(image), ["layout"]) for image in images]
    fired = [sum((row[column] or 0) > least for row in measured) for column, least in _RULES.values()]
    return [f"{len(measured)}", *(above(count, len(measured)) for count in fired)]


def saved(image: Image.Image) -> Image.Image:
    """The picture after JPEG of quality 85."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    main()
