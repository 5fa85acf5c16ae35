"""Measuring against bare decoding, CleanVision and imagededup with the same number of processes, on real photographs.

    python -m benchmarks.bench_measure [--images 300] [--sides 480 640 1280] [--workers 2] [--parts]

Bare decoding reads each file and decodes it with Pillow, nothing else: once as everybody writes it
(``Image.open(file).convert("RGB")``, which copies an image that is RGB already), once with ``load()`` alone, which is
all that decoding needs. Measuring reads and hashes the bytes, decodes once, computes signals and writes Parquet:

- **classical**: every classical signal and both perceptual hashes, what a recipe costs that seeks no edited copies;
- **all**: grey view and keypoints too, what the default recipe measures.

Both are measured with and without ``cleanvision: true``. All take turns; the figures are medians of the rounds' ratios.

The peers (``pip install 'winnow-vlm[peers]'``) measure the same files in the same process: CleanVision its seven scores
and its two kinds of duplicate, imagededup its PHash. Their time is divided by that of measuring with
``cleanvision: true``, which computes all of these scores and far more than one hash.

``--parts`` prints what each signal takes instead, in milliseconds an image: the least of nine rounds for each image.

Goals, for the classical signals: 80% of bare decoding's speed, 8 times CleanVision, 15 times imagededup and CleanVision
together.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image

from curate.engines import batched, cpu_count
from curate.engines.local import LocalPool
from curate.measure.images import measure_images
from curate.settings.signals import MeasureSettings
from curate.signals import PIXEL_SIGNALS, SIGNALS, prepare
from curate.signals.base import Pixels
from winnow.files import sha256_bytes
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode_whole

_ROUNDS, _ROUNDS_OF_PARTS = 3, 9


def make_photos(folder: Path, count: int, side: int) -> list[str]:
    """``count`` different JPEG crops of the photographs that scikit-image and scikit-learn ship."""
    packaged = Path(skimage.__file__).parent / "data"
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg")
    files = [packaged / name for name in names]
    files += [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
    photos = [Image.open(file).convert("RGB") for file in files]
    rng = np.random.default_rng(0)
    paths = []
    for number, photo in zip(range(count), itertools.cycle(photos), strict=False):
        share = rng.uniform(0.7, 1.0)
        width, height = int(photo.width * share), int(photo.height * share)
        left, top = int(rng.uniform(0, photo.width - width)), int(rng.uniform(0, photo.height - height))
        crop = photo.resize(
            (side, side * height // width), Image.Resampling.LANCZOS, (left, top, left + width, top + height)
        )
        crop.save(folder / f"{number}.jpg", quality=90)
        paths.append(f"{number}.jpg")
    return paths


def converted(files: list[str]) -> list[int]:
    """Width of each file, decoded to RGB."""
    return [Image.open(BytesIO(Path(file).read_bytes())).convert("RGB").width for file in files]


def loaded(files: list[str]) -> list[int]:
    """The same without ``convert``: the photographs are RGB."""
    widths = []
    for file in files:
        image = Image.open(BytesIO(Path(file).read_bytes()))
        image.load()
        widths.append(image.width)
    return widths


BARE: dict[str, Callable[[list[str]], list[int]]] = {'open().convert("RGB")': converted, "open().load()": loaded}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--sides", type=int, nargs="+", default=[480, 640, 1280], help="widths of the images in pixels")
    parser.add_argument("--workers", type=int, default=cpu_count())
    parser.add_argument("--parts", action="store_true", help="what each signal takes")
    arguments = parser.parse_args()
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as made:
            if arguments.parts:
                _take_apart(Path(made), arguments.images, side)
            else:
                _compare(Path(made), arguments.images, side, arguments.workers)


def _take_apart(folder: Path, count: int, side: int) -> None:
    files = [folder / path for path in make_photos(folder, count, side)]
    prepare(PIXEL_SIGNALS)
    least: dict[str, list[float]] = {}
    for file in files:
        rounds = [_parts(file.read_bytes()) for _ in range(_ROUNDS_OF_PARTS)]
        for name in rounds[0]:
            least.setdefault(name, []).append(min(parts[name] for parts in rounds))
    for name, seconds in least.items():
        print(f"{side} px, {name}: {1000 * statistics.mean(seconds):.3f} ms", flush=True)


def _parts(data: bytes) -> dict[str, float]:
    """Seconds of decoding, of the views that signals share, and of each signal."""
    parts, last = {}, time.perf_counter()

    def done(name: str) -> None:
        nonlocal last
        parts[name] = time.perf_counter() - last
        last = time.perf_counter()

    digest = sha256_bytes(data)
    done("hash of the bytes")
    decoded = decode_whole(data, max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    done("decode and classify")
    if decoded.image is None or decoded.original is None:
        raise RuntimeError(f"{digest} was not decoded: no figure")
    pixels = Pixels(decoded.image, decoded.original)
    pixels.histogram  # noqa: B018 (made at first use)
    done("luminance, histogram and thumbnail")
    pixels.lines  # noqa: B018
    done("lines")
    for name in PIXEL_SIGNALS:
        if (compute := SIGNALS[name].compute) is not None:
            compute(pixels)
            done(name)
    return parts


def _compare(folder: Path, count: int, side: int, workers: int) -> None:
    paths = make_photos(folder, count, side)
    with LocalPool(workers) as pool:
        for kind in KINDS:  # the workers have started
            _round(pool, paths[: 16 * workers], folder, time.perf_counter, kind)
        for kind in KINDS:
            rounds = [_round(pool, paths, folder, time.perf_counter, kind) for _ in range(_ROUNDS)]
            _report(f"{side} px, {workers} workers, wall time, {kind.label}", rounds, count)
    alone, ours = LocalPool(1), {}
    _round(alone, paths[:16], folder, time.process_time, KINDS[-1])
    for kind in KINDS:
        rounds = [_round(alone, paths, folder, time.process_time, kind) for _ in range(_ROUNDS)]
        _report(f"{side} px, 1 process, CPU time (blind to what else the machine does), {kind.label}", rounds, count)
        ours[kind] = statistics.median(seconds[-1] for seconds in rounds)
    theirs: dict[str, float] = {}
    for name, peer in PEERS.items():
        try:
            theirs[name] = peer(folder)
        except ImportError:
            print(f"{side} px: {name} is not installed (pip install 'winnow-vlm[peers]')", flush=True)
    for names in [*([name] for name in theirs), *([list(theirs)] if len(theirs) > 1 else [])]:
        seconds = sum(theirs[name] for name in names)
        print(f"{side} px, 1 process, CPU time: {' and '.join(f'{name} {version(name)}' for name in names)}", end="")
        print(f" {count / seconds:,.1f} images/s", flush=True)
        for kind in KINDS:
            if kind.cleanvision:
                times = seconds / ours[kind]
                print(f"    {kind.label} {count / ours[kind]:,.1f}/s, {times:.1f} times as fast", flush=True)


def cleanvision_seconds(folder: Path) -> float:
    """CPU seconds of CleanVision on the JPEG files of a folder, in this process."""
    from cleanvision import Imagelab

    lab = Imagelab(filepaths=[str(path) for path in folder.glob("*.jpg")], verbose=False)
    started = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        lab.find_issues(n_jobs=1, verbose=False)
    return time.process_time() - started


def imagededup_seconds(folder: Path) -> float:
    """CPU seconds of imagededup's PHash on the JPEG files of a folder, in this process."""
    from imagededup.methods import PHash

    hasher, started = PHash(verbose=False), time.process_time()
    for path in folder.glob("*.jpg"):
        hasher.encode_image(image_file=path)
    return time.process_time() - started


PEERS: dict[str, Callable[[Path], float]] = {"cleanvision": cleanvision_seconds, "imagededup": imagededup_seconds}


@dataclass(frozen=True)
class Kind:
    """What is measured."""

    label: str
    edits: bool
    cleanvision: bool


KINDS = (
    Kind("classical", False, False),
    Kind("all", True, False),
    Kind("classical with CleanVision's scores", False, True),
    Kind("all with CleanVision's scores", True, True),
)


def _round(
    pool: LocalPool, paths: list[str], folder: Path, clock: Callable[[], float], kind: Kind
) -> tuple[float, ...]:
    """Seconds of each way of bare decoding and of measuring the same files, into a folder where nothing is stored."""
    seconds = []
    for decode in BARE.values():
        started = clock()
        list(pool.map(decode, batched([str(folder / path) for path in paths], 16), lambda file: 0))
        seconds.append(clock() - started)
    with tempfile.TemporaryDirectory() as out:
        settings, started = MeasureSettings(cleanvision=kind.cleanvision), clock()
        report = measure_images(paths, folder, Path(out), settings, edits=kind.edits, pool=pool)
        seconds.append(clock() - started)
    if report.decodes != len(paths) or report.errors:
        raise RuntimeError(f"{report.decodes} of {len(paths)} images were measured ({report.errors}): no figure")
    return tuple(seconds)


def _report(label: str, rounds: list[tuple[float, ...]], count: int) -> None:
    *bare, measured = (count / min(seconds) for seconds in zip(*rounds, strict=True))
    print(f"{label}: {measured:,.0f} images/s", flush=True)
    for number, (name, rate) in enumerate(zip(BARE, bare, strict=True)):
        ratio = statistics.median(seconds[number] / seconds[-1] for seconds in rounds)
        print(f"    {name} {rate:,.0f}/s; measuring runs at {ratio:.0%} of its speed", flush=True)


if __name__ == "__main__":
    main()
