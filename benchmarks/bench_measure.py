"""Measuring against bare decoding, CleanVision and imagededup with the same number of processes, on real photographs.

    python -m benchmarks.bench_measure [--images 300] [--sides 640 1280] [--workers 2]

Bare decoding reads each file and decodes it to RGB with Pillow, nothing else. Measuring reads and hashes
the bytes, decodes once, computes every classical signal with both perceptual hashes and writes Parquet.
The two take turns; the figure is the median of the rounds' ratios.

The peers (``pip install 'winnow-vlm[peers]'``) measure the same files: CleanVision its seven scores and its two kinds
of duplicate, imagededup its PHash. CleanVision's time is divided by that of measuring with ``cleanvision: true``, which
computes all of its scores; imagededup's by that of measuring without them, which still does far more than one hash.
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

from curate.engines import batched, cpu_count
from curate.engines.local import LocalPool
from curate.measure.images import measure_images
from curate.recipe import MeasureSettings

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
    parser.add_argument("--sides", type=int, nargs="+", default=[640, 1280], help="widths of the images in pixels")
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
        for label, whole in KINDS:
            rounds = [_round(pool, paths, folder, time.perf_counter, whole) for _ in range(_ROUNDS)]
            _report(f"{side} px, {workers} workers, wall time{label}", rounds, count)
    alone, seconds_of = LocalPool(1), {}
    for label, whole in KINDS:
        rounds = [_round(alone, paths, folder, time.process_time, whole) for _ in range(_ROUNDS)]
        _report(f"{side} px, 1 process, CPU time (blind to what else the machine does){label}", rounds, count)
        seconds_of[whole] = statistics.median(measured for _, measured in rounds)
    for name, (peer, whole) in PEERS.items():
        ours = seconds_of[whole]
        try:
            seconds = peer(folder)
        except ImportError:
            print(f"{side} px: {name} is not installed (pip install 'winnow-vlm[peers]')", flush=True)
        else:
            print(
                f"{side} px, 1 process, CPU time: {name} {version(name)} {count / seconds:,.1f} images/s,"
                f" measuring{' with its scores' if whole else ' (all classical signals, two hashes)'}"
                f" {count / ours:,.1f}/s; measuring is {seconds / ours:.1f} times as fast",
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


# Peer → its seconds, and whether it is compared with measuring that includes CleanVision's scores.
PEERS: dict[str, tuple[Callable[[Path], float], bool]] = {
    "cleanvision": (cleanvision_seconds, True),
    "imagededup": (imagededup_seconds, False),
}
KINDS = (("", False), (", CleanVision's scores included", True))


def _round(
    pool: LocalPool, paths: list[str], folder: Path, clock: Callable[[], float], whole: bool
) -> tuple[float, float]:
    """Seconds of bare decoding and of measuring the same files, into a folder where nothing is stored yet."""
    started = clock()
    list(pool.map(bare_decode, batched([str(folder / path) for path in paths], 16), lambda file: 0))
    middle = clock()
    with tempfile.TemporaryDirectory() as out:
        before = clock()
        report = measure_images(paths, folder, Path(out), MeasureSettings(cleanvision=whole), pool=pool)
        ended = clock()
    if report.decodes != len(paths) or report.errors:
        raise RuntimeError(f"{report.decodes} of {len(paths)} images were measured ({report.errors}): no figure")
    return middle - started, ended - before


def _report(label: str, rounds: list[tuple[float, float]], count: int) -> None:
    bare, measured = (count / min(seconds) for seconds in zip(*rounds, strict=True))
    ratio = statistics.median(one / other for one, other in rounds)
    rates = f"decoding {bare:,.0f} images/s, measuring {measured:,.0f}/s"
    print(f"{label}: {rates}; measuring runs at {ratio:.0%} of the speed of bare decoding", flush=True)


if __name__ == "__main__":
    main()
