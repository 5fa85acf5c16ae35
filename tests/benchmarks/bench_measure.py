"""Measuring against bare decoding, CleanVision and imagededup with the same number of processes, on real photographs.

    python -m tests.benchmarks.bench_measure [--images 300] [--sides 640 1280] [--workers 2]

Bare decoding reads each file and decodes it to RGB with Pillow, nothing else. Measuring reads and hashes
the bytes, decodes once, computes every classical signal with both perceptual hashes and writes Parquet.
The two take turns; the figure is the median of the rounds' ratios.

The peers (``pip install 'winnow-vlm[peers]'``) measure the same files: CleanVision its seven scores and its two kinds
of duplicate, imagededup its PHash. Each peer's figure is its time divided by that of Winnow's measuring with
``cleanvision: true``, which computes all of that.
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
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image

from curate.engines.local import LocalPool, cpu_count
from curate.measure.images import batched, measure_images
from curate.settings import MeasureSettings

_ROUNDS = 3


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


def bare_decode(files: list[str]) -> list[int]:
    """Pixels of each file, decoded to RGB."""
    return [Image.open(BytesIO(Path(file).read_bytes())).convert("RGB").width for file in files]


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--sides", type=int, nargs="+", default=[640, 1280], help="widths of the pictures in pixels")
    parser.add_argument("--workers", type=int, default=cpu_count())
    arguments = parser.parse_args()
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as made:
            _compare(Path(made), arguments.images, side, arguments.workers)


def _compare(folder: Path, count: int, side: int, workers: int) -> None:
    paths = make_photos(folder, count, side)
    with LocalPool(workers) as pool:
        first = [str(folder / path) for path in paths[:16]]
        list(pool.map(bare_decode, batched(first, 4), lambda file: 0))  # the workers have started
        rounds = [_round(pool, paths, folder, f"{number}", time.perf_counter) for number in range(_ROUNDS)]
    _report(f"{side} px, {workers} workers, wall time", rounds, count)
    alone = LocalPool(1)
    for label, whole in (("", False), (", CleanVision's scores included", True)):
        rounds = [
            _round(alone, paths, folder, f"{label}{number}", time.process_time, whole) for number in range(_ROUNDS)
        ]
        _report(f"{side} px, 1 process, CPU time (blind to what else the machine does){label}", rounds, count)
    ours = statistics.median(measured for _, measured in rounds)
    for name, peer in PEERS.items():
        try:
            seconds = peer(folder)
        except ImportError:
            print(f"{side} px: {name} is not installed (pip install 'winnow-vlm[peers]')", flush=True)
        else:
            print(
                f"{side} px, 1 process, CPU time: {name} {version(name)} {count / seconds:,.1f} images/s,"
                f" measuring {count / ours:,.1f}/s; measuring is {seconds / ours:.1f} times as fast",
                flush=True,
            )


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


def _round(
    pool: LocalPool, paths: list[str], folder: Path, name: str, clock: Callable[[], float], whole: bool = False
) -> tuple[float, float]:
    """Seconds of bare decoding and of measuring the same files."""
    started = clock()
    list(pool.map(bare_decode, batched([str(folder / path) for path in paths], 16), lambda file: 0))
    middle = clock()
    measure_images(paths, folder, folder / f"signals-{name}", MeasureSettings(cleanvision=whole), pool=pool)
    return middle - started, clock() - middle


def _report(label: str, rounds: list[tuple[float, float]], count: int) -> None:
    bare, measured = (count / min(seconds) for seconds in zip(*rounds, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    rates = f"decoding {bare:,.0f} images/s, measuring {measured:,.0f}/s"
    print(f"{label}: {rates}; measuring runs at {ratio:.0%} of the speed of bare decoding", flush=True)


if __name__ == "__main__":
    main()
