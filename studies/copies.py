"""Edited copies of photographs: recall and kind by edit, false pairs, and what peers find of the same copies.

    python -m studies.copies --photos BSDS500/BSDS500/data/images [--part test] [--images 200] [--receipts FOLDER]

The photographs are BSDS500 (``git clone https://github.com/BIDS/BSDS500``). The search was tuned on its parts train and
val; ``test`` is what is reported. Crops, banners, frames, brightness and gamma are drawn anew for every photograph.
False pairs are sought between each photograph and the copies of all others, among all 500 photographs of all parts, and
among drawings, pages and forms made in code; with ``--receipts`` also among the scans of a folder (SROIE:
``git clone https://github.com/zzzDavid/ICDAR-2019-SROIE``, data/img). Peers stand beside it where they are installed
(``pip install 'winnow-vlm[peers]'``): imagededup's PHash within 10 bits, and CleanVision's near duplicates, whose
hashes are equal. imagededup's CNN needs weights from the network.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from curate.duplicates.edits.looks import Looks
from curate.duplicates.edits.search import edited_pairs, edited_pairs_between
from curate.kinds import KINDS, KindPairs
from curate.signals import SIGNALS, measure_pixels
from curate.signals.keypoints import KEY_BITS, POINT, SIDE
from studies.demo.copies import drawings, forms, pages

Edit = Callable[[Image.Image, np.random.Generator], Image.Image]


def stored_again(image: Image.Image, quality: int, kind: str = "JPEG") -> Image.Image:
    """Encoded and decoded."""
    buffer = BytesIO()
    image.save(buffer, kind, quality=quality)
    return Image.open(buffer).convert("RGB")


def cropped(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """A part of ``share`` of each side, anywhere."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def with_banner(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A strip of 10% to 18% of the height with text over the upper or lower edge."""
    made, height = image.copy(), round(image.height * rng.uniform(0.1, 0.18))
    top = 0 if rng.random() < 0.5 else image.height - height
    pen = ImageDraw.Draw(made)
    pen.rectangle((0, top, image.width, top + height), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    pen.text((20, top + 0.15 * height), "BREAKING NEWS of today", "white", ImageFont.load_default(0.6 * height))
    return made


def with_logo(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A disc with letters in one corner, a fifth of the shorter side wide."""
    made, side = image.copy(), min(image.size) // 5
    left, top = (int(rng.choice([8, end - side - 8])) for end in image.size)
    pen = ImageDraw.Draw(made)
    pen.ellipse((left, top, left + side, top + side), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    pen.text((left + side * 0.2, top + side * 0.25), "TV", "white", ImageFont.load_default(side * 0.4))
    return made


def with_watermark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half-transparent letters across the middle."""
    layer = Image.new("RGBA", image.size)
    size = image.width * rng.uniform(0.12, 0.16)
    ImageDraw.Draw(layer).text((image.width * 0.08, image.height * 0.4), "© stock photo", (255, 255, 255, 150),
                               ImageFont.load_default(size))  # fmt: skip
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def framed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A border of 4% to 12% of the shorter side."""
    color = ("white", "black", "grey", "maroon")[int(rng.integers(4))]
    return ImageOps.expand(image, round(min(image.size) * rng.uniform(0.04, 0.12)), color)


def in_bars(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """In a square whose bars are black, white, or the picture itself enlarged and blurred."""
    side, way = max(image.size), int(rng.integers(3))
    plain = Image.new("RGB", (side, side), ("black", "white")[way % 2])
    square = image.resize((side, side)).filter(ImageFilter.GaussianBlur(20)) if way == 2 else plain
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def gamma(image: Image.Image, value: float) -> Image.Image:
    """Levels to a power."""
    return image.point([round(255 * (level / 255) ** value) for level in range(256)] * 3)


def sepia(image: Image.Image) -> Image.Image:
    """Grey, then brown."""
    return ImageOps.colorize(image.convert("L"), (30, 15, 0), (255, 240, 200))


# Edit → the kinds that name it rightly, its least recall, and how it is made.
EDITS: dict[str, tuple[tuple[str, ...], float, Edit]] = {
    "JPEG, quality 30": (("re-encoded",), 0.95, lambda image, rng: stored_again(image, 30)),
    "WebP, quality 60": (("re-encoded",), 0.95, lambda image, rng: stored_again(image, 60, "WEBP")),
    "half as wide": (("resized",), 0.95, lambda image, rng: image.resize((image.width // 2, image.height // 2))),
    "grey": (("toned",), 0.95, lambda image, rng: image.convert("L").convert("RGB")),
    "sepia": (("toned",), 0.95, lambda image, rng: sepia(image)),
    "brighter × 1.4": (("brighter",), 0.95, lambda image, rng: ImageEnhance.Brightness(image).enhance(1.4)),
    "brightness × 0.6 to 1.5": (
        ("brighter",), 0.95,
        lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.choice([0.6, 0.75, 1.2, 1.5])),
    ),
    "gamma 0.6 or 1.6": (("brighter",), 0.95, lambda image, rng: gamma(image, rng.choice([0.6, 1.6]))),
    "mirrored": (("mirrored",), 0.95, lambda image, rng: ImageOps.mirror(image)),
    "border": (("framed",), 0.95, framed),
    "bars to a square": (("framed",), 0.95, in_bars),
    "banner": (("overlaid",), 0.95, with_banner),
    "logo": (("overlaid",), 0.95, with_logo),
    "watermark": (("overlaid",), 0.95, with_watermark),
    "cropped to 90%": (("cropped",), 0.95, lambda image, rng: cropped(image, 0.9, rng)),
    "cropped to 80%": (("cropped",), 0.95, lambda image, rng: cropped(image, 0.8, rng)),
    "cropped to 60%": (("cropped",), 0.85, lambda image, rng: cropped(image, 0.6, rng)),
    "turned by 5°": (("turned",), 0.85, lambda image, rng: image.rotate(5, Image.Resampling.BICUBIC)),
    "turned by -5° to 5°": (
        ("turned",), 0.85,
        lambda image, rng: image.rotate(rng.uniform(2, 5) * rng.choice([-1, 1]), Image.Resampling.BICUBIC),
    ),
    "mirrored, cropped to 80%, JPEG 60": (
        ("mirrored",), 0.95, lambda image, rng: stored_again(cropped(ImageOps.mirror(image), 0.8, rng), 60),
    ),
    "grey, cropped to 80%, half as wide": (
        ("cropped",), 0.95,
        lambda image, rng: ImageOps.scale(cropped(image.convert("L").convert("RGB"), 0.8, rng), 0.5),
    ),
}  # fmt: skip


def looks_of(images: Iterable[Image.Image], folder: Path) -> Looks:
    """Measured and stored as ``curate run`` does."""
    folder.mkdir(parents=True)
    rows = [
        measure_pixels(image, ("looks", "thumbnail")) | {"width": image.width, "height": image.height}
        for image in images
    ]
    fields = SIGNALS["looks"].fields() + SIGNALS["thumbnail"].fields()
    schema = pa.schema([*fields, ("width", pa.int32()), ("height", pa.int32())])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "part-00000.parquet")
    return Looks.of_parts([folder / "part-00000.parquet"], folder / "looks")


def pairs_of(blocks: Iterable[KindPairs]) -> dict[tuple[int, int], str]:
    """Pair → kind."""
    return {
        (int(i), int(j)): KINDS[kind]
        for block in blocks
        for i, j, kind in zip(block.i, block.j, block.kind, strict=True)
    }


def imagededup_hashes(images: Iterable[Image.Image]) -> np.ndarray | None:
    """imagededup's PHash, or None where it is not installed."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        return None
    hasher = PHash(verbose=False)
    return np.array([int(hasher.encode_image(image_array=np.asarray(image)), 16) for image in images], np.uint64)


def cleanvision_hashes(images: Iterable[Image.Image]) -> np.ndarray | None:
    """The hash of CleanVision's near duplicates: imagehash's phash."""
    try:
        import imagehash
    except ImportError:
        return None
    return np.array([int(str(imagehash.phash(image)), 16) for image in images], np.uint64)


def synthetic(count: int, photos: list[Image.Image], folder: Path) -> Looks:
    """Looks of ``count`` images of 38 keypoints each, one image in a thousand a copy; views are cut from photographs.

    Each bit of a word is what most of three words of photographs have that agree in bits 9 and 22, which tell most of
    all others; one in twenty has the key of one of 12,500. So the keys of strangers meet as often as
    photographs' do (3.2 in ten million pairs of the words of 500 photographs), and the rest of such words differs in
    at most 6 bits as often (1%).
    """
    rng, each = np.random.default_rng(0), 38
    looks = looks_of(photos, folder)
    real = looks.points
    words = np.array(real["word"])
    kind = (words >> np.uint64(9) & np.uint64(1)) + np.uint64(2) * (words >> np.uint64(22) & np.uint64(1))
    alike = [words[kind == value] for value in range(4)]
    keys = rng.choice(words, 12_500) ^ rng.integers(0, 1 << 32, 12_500, np.uint64)
    low = np.uint64((1 << KEY_BITS) - 1)
    points = np.empty(each * count, POINT)
    for start in range(0, len(points), 1 << 20):
        some = points[start : start + (1 << 20)]
        chosen = rng.integers(0, len(real), len(some))
        some[:] = real[chosen]
        made = some["word"].copy()
        for value, others in enumerate(alike):
            where = np.flatnonzero(kind[chosen] == value)
            one, two, three = made[where], *rng.choice(others, (2, len(where)))
            made[where] = one & two | one & three | two & three
        hot = rng.random(len(some)) < 0.05
        made[hot] = made[hot] & ~low | rng.choice(keys, hot.sum()) & low
        some["word"] = made
    sources = rng.choice(count // 2, count // 1000, replace=False)
    by_image = points.reshape(count, each)
    by_image[count // 2 + sources] = by_image[sources]
    texture = np.resize(looks.views, 64 * (count // 2))
    texture = np.resize(texture, 64 * count + SIDE * SIDE)
    views = np.lib.stride_tricks.as_strided(texture, (count, SIDE, SIDE), (64, SIDE, 1))
    shapes, sizes = np.full((count, 2), SIDE, np.uint8), np.full((count, 2), 480, np.int32)
    colors = np.lib.stride_tricks.as_strided(np.zeros(768, np.uint8), (count, 768), (0, 1))
    return Looks(views, shapes, sizes, colors, np.zeros(count, bool), np.arange(0, len(points) + 1, each), points)


def _scale(count: int, photos: list[Image.Image], folder: Path) -> None:
    looks = synthetic(count, photos, folder / "scale")
    started = time.process_time()
    found = sum(map(len, edited_pairs(looks, KINDS)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = time.process_time() - started
    print(f"{count:,} synthetic images, {count // 1000:,} copies: {found:,} pairs in {seconds:.0f} s of CPU, load"
          f" {os.getloadavg()[0]:.0f}; peak memory {peak:,} MB")  # fmt: skip


def main() -> None:
    """Print the table, the kinds given, and false pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with train, val and test")
    parser.add_argument("--part", default="test")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--skip", type=int, default=0, help="the first ones of the part, not to be used")
    parser.add_argument("--receipts", type=Path)
    parser.add_argument("--strangers", action="store_true", help="only what is sought among strangers")
    parser.add_argument("--edits", nargs="+", default=list(EDITS), help="only these")
    parser.add_argument("--size", type=int, help="only the search among so many synthetic images")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    photos = _opened(sorted((asked.photos / asked.part).glob("*.jpg"))[asked.skip :][: asked.images])
    if not photos:
        parser.error(
            f"{asked.photos / asked.part}: holds no photographs from number {asked.skip} on; `git clone"
            " https://github.com/BIDS/BSDS500` has them in BSDS500/data/images (for research that is not commercial)"
        )
    with tempfile.TemporaryDirectory() as made:
        if asked.size:
            _scale(asked.size, photos, Path(made))
            return
        if not asked.strangers:
            _copies(photos, Path(made), asked)
        if asked.strangers or asked.edits == list(EDITS):
            _strangers(asked, Path(made))


def _opened(files: Sequence[Path]) -> list[Image.Image]:
    return [Image.open(file).convert("RGB") for file in files]


def _copies(photos: list[Image.Image], folder: Path, asked: argparse.Namespace) -> None:
    print(f"{len(photos)} photographs\n")
    print("| edit | asked | found | kind named rightly | imagededup PHash 10 | CleanVision | other kinds given |")
    print("|---|---|---|---|---|---|---|", flush=True)
    originals = looks_of(photos, folder / "originals")
    own = [imagededup_hashes(photos), cleanvision_hashes(photos)]
    false, compared, peers_false = 0, 0, [0, 0]
    for number, (name, (right, least, edit)) in enumerate(EDITS.items()):
        if name not in asked.edits:
            continue
        rng = np.random.default_rng([asked.seed, number])
        images = [edit(photo, rng) for photo in photos]
        pairs = pairs_of(edited_pairs_between(originals, looks_of(images, folder / str(number)), KINDS))
        given = Counter(kind for (i, j), kind in pairs.items() if i == j)
        recall = given.total() / len(photos)
        named = sum(given[kind] for kind in right) / max(given.total(), 1)
        false += len(pairs) - given.total()
        compared += len(photos) * (len(photos) - 1)
        cells = []
        for peer, (hashes, hasher, radius) in enumerate(
            zip(own, (imagededup_hashes, cleanvision_hashes), (10, 0), strict=True)
        ):
            other = None if hashes is None else hasher(images)
            if hashes is None or other is None:
                cells.append("not installed")
                continue
            near = np.bitwise_count(hashes[:, None] ^ other[None]) <= radius
            cells.append(f"{near.diagonal().mean():.3f}")
            peers_false[peer] += int(near.sum() - near.diagonal().sum())
        rest = ", ".join(f"{kind} {count}" for kind, count in sorted(given.items()) if kind not in right)
        print(f"| {name} | {least} | {recall:.3f} | {named:.3f} | {' | '.join(cells)} | {rest} |", flush=True)
    print(f"\nfalse pairs between a photograph and copies of others: {false} of {compared:,}"
          f" (imagededup {peers_false[0]}, CleanVision {peers_false[1]})", flush=True)  # fmt: skip


def _strangers(asked: argparse.Namespace, folder: Path) -> None:
    sets = {kind: make(150, np.random.default_rng(7)) for kind, make in
            {"drawings": drawings, "pages": pages, "forms": forms}.items()}  # fmt: skip
    sets["photographs, all parts"] = _opened(sorted(asked.photos.glob("*/*.jpg")))
    if asked.receipts:
        sets["receipts"] = _opened(sorted(asked.receipts.glob("*.jpg"))[:200])
    sets["all together"] = [image for images in sets.values() for image in images]
    for kind, images in sets.items():
        started = time.process_time()
        looks = looks_of(images, folder / kind)
        pairs = pairs_of(edited_pairs(looks, KINDS))
        searched = int((~looks.paper).sum())
        count = len(images) * (len(images) - 1) // 2
        print(f"{kind}: {len(pairs)} of {count:,} pairs joined; {searched} of {len(images)} are not like paper;"
              f" {list(pairs.items())[:12]} ({time.process_time() - started:.0f} s of CPU)", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
