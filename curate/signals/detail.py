"""Blur and compression signals of a decoded image: detail at two scales, JPEG blocking, banding and JPEG quality.

**Detail** tells blur of any kind: how much of the structure at 7–17 pixels has fine structure at 3–5 pixels with it.
The image is cut into tiles of 32 × 32 pixels, about 70 of a view of 256 × 171; each gets a Hann window and a Fourier
transform. Of eight directions (sectors of ±17°) the mean power at 0.20–0.36 cycles a pixel is divided by that at
0.06–0.15, in decibels. A direction's value is the 80th percentile over the tiles that have structure along it, so that
one object in focus makes an image sharp; the image's value is that of its softest direction, so that motion in one
direction is enough. Noise is no detail: its power is the 20th percentile over the tiles of the power at 0.45 cycles a
pixel and above; it is subtracted, and tiles that hardly rise above it do not count.

``detail`` is measured on a copy whose longer side is at most 256 pixels, ``detail_full`` on tiles spread over the
image in its own size, over all directions together: enlarging, and blur too weak to be seen at 256 pixels, take fine
structure away there.

That blur takes power from high spatial frequencies, motion along its direction only, is textbook optics; the mean
power of sharp photographs falls with the square of the frequency (Field 1987, "Relations between the statistics of
natural images and the response properties of cortical cells"), which is −9 dB here whatever an image shows. Bands,
percentiles and gates are ours, chosen on the train photographs of BSDS500 and measured on its test photographs.

**Blocking** is the mean step over the borders of JPEG's 8 × 8 blocks divided by the mean step elsewhere, at the offset
of the grid where it is largest (the boundary term of Wang, Sheikh and Bovik 2002, "No-reference perceptual quality
assessment of JPEG compressed images"). It stays when the image is saved again in another format.

**Banding** counts false contours, which too few grey levels leave in smooth areas: along a line, a step of 2 to 40
levels with four pixels or more of one level on either side. Camera noise has no such runs, a page or a drawing no such
steps. The offset in the 8 × 8 grid that has the most of them is left out, since JPEG's flat blocks end there.

**JPEG quality** is read off a file's luminance quantisation table by inverting libjpeg's scaling of the table of the
standard (ITU-T T.81, Annex K); it says nothing of what the file was saved from.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from curate.signals.base import Grey, Pixels, Signal
from curate.signals.reduction import smaller

Floats = NDArray[np.float32]

_SIDE = 256
_GAP = 1.5  # how much larger than the copy what is filtered is at least
_TILE = 32
_SPACING = 24
_TILES = 4  # along each side of the image in its own size
_DIRECTIONS = 8
_HALF_SECTOR = 0.75 * math.pi / _DIRECTIONS
_COARSE, _FINE, _NOISE = (0.06, 0.15), (0.20, 0.36), (0.45, 1.0)  # cycles a pixel
_QUANTILE, _NOISE_QUANTILE = 0.8, 0.2
_GATE, _ABOVE_NOISE = 30.0, 10.0  # mean power in squared grey levels; a multiple of the noise
_LEAST = 0.02  # what rounding to whole grey levels leaves of the power, below which nothing is measured
_MIN_TILES = 6  # of a view of 256 pixels; a sixteenth of the tiles of a smaller one


def _window() -> Floats:
    line = np.hanning(_TILE + 2)[1:-1]
    return np.outer(line, line).astype(np.float32)


def _bands() -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Weights of coarse and fine by direction, of both in all directions and of noise, as ``band_means`` wants them."""
    down, across = np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None]
    frequency, angle = np.hypot(down, across), np.arctan2(down, across)
    coarse, fine, noise = ((frequency >= low) & (frequency < high) for low, high in (_COARSE, _FINE, _NOISE))
    turned = [angle - math.pi * direction / _DIRECTIONS for direction in range(_DIRECTIONS)]
    sectors = [np.abs((one + math.pi / 2) % math.pi - math.pi / 2) <= _HALF_SECTOR for one in turned]
    masks = [band & sector for band in (coarse, fine) for sector in sectors] + [coarse, fine, noise]
    # A real transform leaves out the mirrored half of the spectrum, which its first and last column have in them.
    weights = np.where((across > 0) & (across < 0.5), 2.0, 1.0)
    weighted = [(np.broadcast_to(weights, mask.shape) * mask).ravel() for mask in masks]
    means = np.stack([one / one.sum() for one in weighted]) / (_WINDOW**2).sum()
    band, place = np.nonzero(means)
    begin = np.searchsorted(band, np.arange(len(means) + 1))
    return begin, place, means[band, place].astype(np.float32)


_WINDOW = _window()
_BANDS = _bands()


def detail(pixels: Pixels) -> dict[str, float | None]:
    """Detail at both scales; null where too few tiles have structure, as in a clear sky."""
    from curate.signals.kernels.fourier import TOGETHER, WAVES, powers
    from curate.signals.kernels.spectra import band_means, windowed

    found: list[float | None] = []
    small = smaller(pixels.levels, _SIDE, _GAP)
    for levels, places, every in ((small, _spread, True), (pixels.levels, _few, False)):
        top, left = map(places, levels.shape)
        if min(levels.shape) < _TILE:  # mirrored
            levels = np.pad(levels, [(0, max(_TILE - side, 0)) for side in levels.shape], mode="symmetric")
        count = len(top) * len(left)
        groups = -(-count // TOGETHER)
        tiles = np.zeros((TOGETHER * groups, _TILE, _TILE), np.float32)
        power = np.empty((groups, _TILE, WAVES, TOGETHER), np.float32)
        means = np.empty((count, len(_BANDS[0]) - 1), np.float32)
        windowed(levels, top, left, _WINDOW, tiles)
        powers(tiles, power)
        band_means(power.reshape(groups, -1, TOGETHER), *_BANDS, means)
        found.append(_softest(means, every))
    return dict(zip(("detail", "detail_full"), found, strict=True))


def _spread(side: int) -> NDArray[np.int64]:
    """Where the tiles of a small copy begin along a side."""
    return _starts(side, round((side - _TILE) / _SPACING) + 1)


def _few(side: int) -> NDArray[np.int64]:
    """Where those of an image in its own size begin."""
    return _starts(side, min(_TILES, side // _TILE))


@functools.lru_cache(maxsize=1024)
def _starts(side: int, count: int) -> NDArray[np.int64]:
    return np.linspace(0, max(side - _TILE, 0), max(count, 1)).round().astype(np.int64)


def _softest(means: Floats, every: bool) -> float | None:
    """Fine through coarse in dB at ``_QUANTILE`` of the (tiles, bands) that have the direction.

    Args:
        every: whether each direction is looked at, and not all of them together.
    """
    from curate.signals.kernels.spectra import softest

    directions, coarse, fine = (_DIRECTIONS, 0, _DIRECTIONS) if every else (1, 2 * _DIRECTIONS, 2 * _DIRECTIONS + 1)
    fewest = min(_MIN_TILES, max(len(means) // 16, 1))
    rank = _rank(len(means), _NOISE_QUANTILE)
    ratio = float(softest(means, directions, coarse, fine, rank, _GATE, _ABOVE_NOISE, _LEAST, _QUANTILE, fewest))
    return None if ratio < 0 else 10 * math.log10(ratio)


def _rank(count: int, share: float) -> int:
    """Place, among so many in order, of the value below which that share of the others lies."""
    return int(share * (count - 1))


_BLOCK = 8
_MOST_STEP = 32  # a strong edge is content: it must not make a grid where it happens to lie
_MIN_STEP = 0.25  # grey levels, below which an image is flat and has no blocks


def blocking(pixels: Pixels) -> dict[str, float | None]:
    """The smaller of the two directions' blocking: the lines of a drawing or a table lie in one, blocks in both."""
    found = [value for value in map(_blocking, pixels.lines) if value is not None]
    return {"blocking": min(found, default=None)}


def _blocking(lines: Grey) -> float | None:
    """Largest mean step at one of the eight offsets / the mean at the others, of steps along axis 1."""
    from curate.signals.kernels.lines import grid

    blocks = (lines.shape[1] - 1) // _BLOCK
    if blocks < 4:
        return None
    steps = np.empty(_BLOCK, np.int64)
    grid(lines, _MOST_STEP, steps)
    mean = steps / (len(lines) * blocks)
    at = int(mean.argmax())
    others = float((mean.sum() - mean[at]) / (_BLOCK - 1))
    return float(mean[at]) / max(others, _MIN_STEP)


_CONTOUR = (2, 40)  # grey levels
_RUNS = 8  # pixels of one level on both sides, together


def banding(pixels: Pixels) -> dict[str, float]:
    """False contours among all places of the image's lines, in both directions."""
    across, down = map(_contours, pixels.lines)
    return {"banding": 100 * (across + down) / 2}


def _contours(lines: Grey) -> float:
    """Share of places along axis 1 with a small step between two runs of one level."""
    from curate.signals.kernels.lines import contours

    count = lines.shape[1] - _RUNS + 1  # of steps with both runs inside
    if count < _BLOCK:
        return 0.0
    by_offset = np.empty(_BLOCK, np.int64)
    contours(lines, *_CONTOUR, by_offset)
    # Steps at the borders of JPEG's blocks are another signal: the offset of the grid with most of them is left out.
    return float((by_offset.sum() - by_offset.max()) / (len(lines) * count))


# ITU-T T.81, Table K.1: luminance, in rows; its sum is all that is needed.
_K1 = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def jpeg_quality(pixels: Pixels) -> dict[str, int | None]:
    """libjpeg's quality whose luminance table has the sum nearest to the file's; null if the file is no JPEG."""
    if not isinstance(pixels.original, JpegImagePlugin.JpegImageFile) or not pixels.original.quantization:
        return {"jpeg_quality": None}
    return {"jpeg_quality": int(np.abs(_SUMS - sum(pixels.original.quantization[0])).argmin()) + 1}


def _table_sums() -> NDArray[np.int64]:
    """(100,) sum of libjpeg's baseline luminance table at quality 1 to 100 (``jpeg_set_quality``)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    sums: NDArray[np.int64] = np.clip((np.asarray(_K1) * scale[:, None] + 50) // 100, 1, 255).sum(axis=1)
    return sums


_SUMS = _table_sums()

SIGNALS = (
    Signal(
        "detail",
        3,
        {
            "detail": "dB, about -30 to 0, null without structure: fine through coarse structure in the softest"
            " direction, of a copy of at most 256 px; blurred photographs are below -18",
            "detail_full": "dB: the same in the image's own size, all directions together; below -18 in an image"
            " that was enlarged",
        },
        detail,
        validated={
            "detail": "200 photographs (BSDS500, test) at 256 px: below -18 are 1 sharp one, 99.5% after motion of 15"
            " px, 99.5% after a Gaussian of 2 px; also 9% of 100 radiographs",
            "detail_full": "200 photographs (BSDS500, train): below -18 are 0 sharp ones, 99.5% of those enlarged three"
            " times",
        },
    ),
    Signal(
        "blocking",
        1,
        {"blocking": "ratio, about 1 without blocks: steps at the borders of JPEG's 8 × 8 blocks / steps elsewhere"},
        blocking,
        validated={
            "blocking": "200 photographs (BSDS500, train): above 1.5 are 0 as they are, 30% of JPEG quality 30, 91% of"
            " quality 10; fires on drawings"
        },
    ),
    Signal(
        "banding",
        1,
        {
            "banding": "0–100 %: steps of 2 to 40 levels between runs of one level, among all places; above 0.06 smooth"
            " areas show false contours"
        },
        banding,
        validated={
            "banding": "200 photographs (BSDS500, train): above 0.06 are 0 as they are, about 90% with 16 levels; all"
            " of 60 gradients of 16 to 64 levels"
        },
    ),
    Signal(
        "jpeg_quality",
        1,
        {"jpeg_quality": "1–100, null if no JPEG: libjpeg's quality by the file's luminance table"},
        jpeg_quality,
        {"jpeg_quality": pa.int32()},
    ),
)
