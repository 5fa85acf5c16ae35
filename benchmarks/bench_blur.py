"""Which blurred and compressed photographs the shipped rules find, and which sharp pictures they take.

    python -m benchmarks blur --photos BSDS500/BSDS500/data/images/test --sharp med-v2qa/data_RAD/images

The folder has the photographs; `git clone https://github.com/BIDS/BSDS500` gets them (bands, gates and thresholds
were chosen on its ``train``); without it only pictures that are sharp are judged. Each photograph is damaged in its own
size and, where the name says 256, on a copy whose longer side is 256 pixels; lengths and σ are in pixels of that copy
and grow with the picture. Directions of motion are drawn at random. Other sharp pictures are photographs that
libraries ship, pages, screens, plots, drawings and stripes made here, and the first 200 of each folder after
``--sharp``. Those called held were made after the rules had been chosen.

A cell is the share of pictures on which a rule fires: ``blurry``, ``enlarged``, ``blocky`` and ``banded`` of
``curate/recipes/default.yaml``, and CleanVision's default (blurry_score < 0.29), which ``curate.signals.cleanvision``
computes as that library does.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import skimage
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.signal import fftconvolve

from curate import recipe
from curate.signals import measure_pixels
from studies.demo.copies import drawings, forms, pages

_SIGNALS = ("luminance", "entropy", "flat", "detail", "blocking", "banding", "cleanvision")
_RECIPE = Path(recipe.__file__).parent / "recipes" / "default.yaml"
_RULES = ("blurry", "enlarged", "blocky", "banded")
_CLEANVISION = "blurry_score < 0.29"
_SHIPPED = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
_WORDS = ("alpha", "beta", "gamma", "delta", "report", "open", "of", "values")

Kernel = NDArray[np.float64]
Edit = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def gaussian(sigma: float) -> Kernel:
    """A Gaussian cut off at 4 σ."""
    line = np.exp(-(np.arange(-int(4 * sigma) - 1, int(4 * sigma) + 2) ** 2) / (2 * sigma**2))
    kernel: Kernel = np.outer(line, line) / line.sum() ** 2
    return kernel


def motion(length: float, angle: float) -> Kernel:
    """A straight line of ``length`` pixels through the centre, spread over the pixels that it touches."""
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, int(8 * length))
    x, y, half = along * np.cos(angle), along * np.sin(angle), int(length / 2) + 2
    kernel: Kernel = np.zeros((2 * half + 1, 2 * half + 1))
    for right, below in itertools.product((0, 1), (0, 1)):
        share = np.abs(1 - right - x + np.floor(x)) * np.abs(1 - below - y + np.floor(y))
        np.add.at(kernel, (np.floor(y).astype(int) + below + half, np.floor(x).astype(int) + right + half), share)
    kernel /= kernel.sum()
    return kernel


def disc(radius: float) -> Kernel:
    """Defocus: a disc of even brightness."""
    half = int(radius) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel: Kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    kernel /= kernel.sum()
    return kernel


def blurred(image: Image.Image, kernel: Kernel) -> Image.Image:
    """The image convolved with ``kernel``, mirrored at its borders."""
    half = len(kernel) // 2
    padded = np.pad(np.asarray(image, np.float32), ((half, half), (half, half), (0, 0)), mode="symmetric")
    return _image(fftconvolve(padded, kernel[:, :, None].astype(np.float32), mode="valid", axes=(0, 1)))


def _image(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def noisy(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """White noise on each channel of each pixel."""
    return _image(np.asarray(image) + rng.normal(0, deviation, (image.height, image.width, 3)))


def resaved(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG, as pixels."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def night(image: Image.Image) -> Image.Image:
    """All levels × 0.15."""
    return image.point(lambda level: int(level * 0.15))


def posterised(image: Image.Image, levels: int) -> Image.Image:
    """So many levels of each channel, evenly spread."""
    return image.point(lambda level: round(level * levels // 256 * 255 / (levels - 1)))


def enlarged(image: Image.Image, factor: int) -> Image.Image:
    """Reduced by ``factor``, then enlarged to the size that it had."""
    small = image.resize((image.width // factor, image.height // factor), Image.Resampling.LANCZOS)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _moved(length: float) -> Edit:
    return lambda image, scale, rng: blurred(image, motion(length * scale, rng.uniform(0, np.pi)))


def _soft(sigma: float) -> Edit:
    return lambda image, scale, rng: blurred(image, gaussian(sigma * scale))


def _then(first: Edit, second: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Edit:
    return lambda image, scale, rng: second(first(image, scale, rng), rng)


EDITS: dict[str, Edit] = {
    "sharp": lambda image, scale, rng: image,
    "sharp, night": lambda image, scale, rng: night(image),
    "sharp, noise of 5 levels": lambda image, scale, rng: noisy(image, 5, rng),
    "sharp, JPEG quality 30": lambda image, scale, rng: resaved(image, 30),
    "Gaussian, σ = 1": _soft(1),
    "Gaussian, σ = 2": _soft(2),
    "Gaussian, σ = 4": _soft(4),
    "motion of 10 px": _moved(10),
    "motion of 15 px": _moved(15),
    "motion of 25 px": _moved(25),
    "defocus, disc of radius 4 px": lambda image, scale, rng: blurred(image, disc(4 * scale)),
    "Gaussian, σ = 2, then noise of 5 levels": _then(_soft(2), lambda image, rng: noisy(image, 5, rng)),
    "motion of 15 px, then noise of 5 levels": _then(_moved(15), lambda image, rng: noisy(image, 5, rng)),
    "motion of 15 px, then JPEG quality 75": _then(_moved(15), lambda image, rng: resaved(image, 75)),
    "motion of 15 px, night": _then(_moved(15), lambda image, rng: night(image)),
    "enlarged three times": lambda image, scale, rng: enlarged(image, 3),
    "JPEG quality 20": lambda image, scale, rng: resaved(image, 20),
    "JPEG quality 10": lambda image, scale, rng: resaved(image, 10),
    "JPEG quality 5": lambda image, scale, rng: resaved(image, 5),
    "64 levels": lambda image, scale, rng: posterised(image, 64),
    "32 levels": lambda image, scale, rng: posterised(image, 32),
    "16 levels": lambda image, scale, rng: posterised(image, 16),
}


def stripes(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Two greys at a random angle, period and share, drawn at twice the size and reduced."""
    y, x = np.mgrid[0:960, 0:960] / 2
    for _ in range(count):
        angle, period, low = rng.uniform(0, np.pi), rng.uniform(6, 80), rng.uniform(0, 190)
        bright = (x * np.cos(angle) + y * np.sin(angle)) % period < period * rng.uniform(0.2, 0.8)
        levels = np.where(bright, low + 60, low).reshape(480, 2, 480, 2).mean(axis=(1, 3))
        yield _image(levels).convert("RGB")


def plots(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Lines, bars, points and histograms as matplotlib draws them."""
    from matplotlib.figure import Figure

    for number in range(count):
        figure = Figure(figsize=(rng.uniform(4, 9), rng.uniform(3, 6)))
        axes = figure.subplots()
        if number % 4 == 0:
            axes.plot(np.sin(np.linspace(0, rng.uniform(3, 30), 200)))
        elif number % 4 == 1:
            axes.bar(range(8), rng.uniform(1, 9, 8))
        elif number % 4 == 2:
            axes.scatter(rng.normal(size=200), rng.normal(size=200), s=8)
        else:
            axes.hist(rng.normal(size=500), 30)
        axes.set_title("values")
        file = io.BytesIO()
        figure.savefig(file)
        yield Image.open(file).convert("RGB")


def screens(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Windows with a menu, a toolbar, lines of text and buttons, light and dark, wide and tall."""
    for number in range(count):
        width, height = ((1280, 800), (1920, 1080), (800, 600), (390, 844))[number % 4]
        dark = bool(rng.integers(2))
        ground, pen_colour = ((24, 26, 30), "white") if dark else ((248, 249, 250), "black")
        image = Image.new("RGB", (width, height), ground)
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 0, width, 40), "steelblue")
        pen.rectangle((0, 40, width // 5, height), "dimgrey" if dark else "gainsboro")
        for row in range(1, int(rng.integers(2, height // 24))):
            text = " ".join(rng.choice(_WORDS, int(rng.integers(1, 10))))
            pen.text((width // 5 + 20, 40 + row * 24), text, pen_colour, ImageFont.load_default(14))
            pen.text((12, 40 + row * 44), text[:9], pen_colour, ImageFont.load_default(16))
        left, top = int(rng.uniform(width // 4, width - 120)), int(rng.uniform(60, height - 60))
        pen.rounded_rectangle((left, top, left + 100, top + 32), 8, "seagreen")
        yield image


def figures(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Figures with photographs inside, as matplotlib draws them."""
    from matplotlib.figure import Figure

    photos = list(shipped_photographs())
    for _ in range(count):
        figure = Figure(figsize=(rng.uniform(4, 9), rng.uniform(3, 6)))
        for axes in figure.subplots(1, int(rng.integers(1, 4)), squeeze=False)[0]:
            axes.imshow(photos[rng.integers(len(photos))])
            axes.set_title("values")
        file = io.BytesIO()
        figure.savefig(file)
        yield Image.open(file).convert("RGB")


def coloured_screens(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Text in the fonts that matplotlib ships, on panels of random colours that fade from top to bottom."""
    import matplotlib

    fonts = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))
    for _ in range(count):
        width, height = int(rng.integers(400, 1400)), int(rng.integers(400, 1000))
        ends = rng.integers(0, 256, (2, 3))
        fade = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, height)[:, None]
        image = _image(np.broadcast_to(fade[:, None], (height, width, 3)))
        pen, font = ImageDraw.Draw(image), str(fonts[rng.integers(len(fonts))])
        for _ in range(int(rng.integers(2, 8))):
            left, top = rng.uniform(0, width - 200), rng.uniform(0, height - 100)
            pen.rectangle((left, top, left + 190, top + 90), tuple(int(level) for level in rng.integers(0, 256, 3)))
            pen.text((left + 8, top + 8), " ".join(rng.choice(_WORDS, 4)), "white", ImageFont.truetype(font, 16))
        yield image


def toned_stripes(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Edges of many levels at one angle, on a slope: sharp across, the same along."""
    y, x = np.mgrid[0:960, 0:960] / 2
    for _ in range(count):
        angle = rng.uniform(0, np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        steps = rng.uniform(20, 235, 800)[(along / rng.uniform(3, 12)).astype(int) % 800]
        levels = (steps + 0.05 * (x + y)).reshape(480, 2, 480, 2).mean(axis=(1, 3))
        yield _image(levels).convert("RGB")


def gradients(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """From one colour to another at a random angle, smooth."""
    y, x = np.mgrid[0:320, 0:480]
    for _ in range(count):
        angle, ends = rng.uniform(0, 2 * np.pi), rng.uniform(0, 255, (2, 3))
        along = x * np.cos(angle) + y * np.sin(angle)
        share = ((along - along.min()) / np.ptp(along))[:, :, None]
        yield _image(ends[0] + (ends[1] - ends[0]) * share)


def shipped_photographs() -> Iterator[Image.Image]:
    """Photographs that scikit-image and scikit-learn ship."""
    for name in _SHIPPED:
        yield Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
    for name in ("china.jpg", "flower.jpg"):
        yield Image.open(Path(sklearn.datasets.__file__).parent / "images" / name).convert("RGB")


def edited(photos: Iterable[Path], edit: Edit, small: bool) -> Iterator[Image.Image]:
    """Each photograph after ``edit``; the same directions and noise whatever else is run."""
    rng = np.random.default_rng(0)
    for path in photos:
        photo = Image.open(path).convert("RGB")
        scale = max(photo.size) / 256
        if small:
            photo, scale = photo.resize((round(photo.width / scale), round(photo.height / scale))), 1.0
        yield edit(photo, scale, rng)


def rates(images: Iterable[Image.Image], conditions: Iterable[str]) -> tuple[int, list[float]]:
    """Number of images, and the share of them on which each condition holds."""
    table = pa.Table.from_pylist([measure_pixels(image, _SIGNALS) for image in images])
    asked = ", ".join(f"avg(coalesce({condition}, false)::INTEGER)" for condition in conditions)
    ((*found,),) = duckdb.from_arrow(table).aggregate(asked).fetchall()
    return len(table), found


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of JPEG photographs")
    parser.add_argument("--limit", type=int, help="so many of them")
    parser.add_argument("--sharp", type=Path, nargs="*", default=[], help="folders of other pictures that are sharp")
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.glob("*.jpg"))[: arguments.limit] if arguments.photos else []
    if arguments.photos and not photos:
        parser.error(f"{arguments.photos}: no *.jpg there")
    rules = recipe.read_recipe(_RECIPE).rules
    conditions = {**{name: str(rules[name].when) for name in _RULES}, "CleanVision": _CLEANVISION}
    print(f"| pictures | number | {' | '.join(conditions)} |\n|---|--:|{'--:|' * len(conditions)}")

    def line(name: str, images: Iterable[Image.Image]) -> None:
        count, found = rates(images, conditions.values())
        print(f"| {name} | {count} | {' | '.join(f'{share:.1%}' for share in found)} |", flush=True)

    made = {"pages": pages, "forms": forms, "drawings": drawings, "screens": screens, "plots": plots}
    for name, make in made.items():
        line(name, make(40, np.random.default_rng(0)))
    line("stripes", stripes(100, np.random.default_rng(0)))
    held = {"figures with photographs": figures, "coloured screens": coloured_screens, "toned stripes": toned_stripes}
    for name, make in {**held, "gradients": gradients}.items():
        line(f"{name}, held", make(100, np.random.default_rng(1)))
    for levels in (64, 32, 16):
        made_of = (posterised(image, levels) for image in gradients(100, np.random.default_rng(1)))
        line(f"gradients of {levels} levels, held", made_of)
    for folder in arguments.sharp:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))[:200]
        line(f"{folder.parent.name}/{folder.name}, held", (Image.open(path).convert("RGB") for path in files))
    line("photographs that come with libraries", shipped_photographs())
    for name, edit in EDITS.items() if photos else ():
        line(name, edited(photos, edit, small=False))
        if name != "enlarged three times":
            line(f"{name}, 256", edited(photos, edit, small=True))


if __name__ == "__main__":
    main()
