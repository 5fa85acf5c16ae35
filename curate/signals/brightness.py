"""Exact percentiles of perceived brightness, computed on the few pixels that can matter.

Brightness is √(0.241 R² + 0.691 G² + 0.068 B²), Darel Finley's HSP model (alienryderflex.com/hsp.html). A percentile
needs one tail of its order only. Luminance L, which is there already, bounds the brightness of a pixel from both
sides: by the Cauchy–Schwarz inequality it is at least 0.97 L, and at most what the corners of the colour cube allow
for that L. So a first guess of the tail by L gives a bound, and the bound leaves few other pixels to look at.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from curate.signals.picture import Picture

_WEIGHTS = (241, 691, 68)  # thousandths of R², G², B²
_LUMINANCE = (0.299, 0.587, 0.114)

Squares = NDArray[np.int32]


def brightness_percentile(picture: Picture, percent: int) -> float:
    """0–1: a percentile of brightness / 255, linear between ranks as ``numpy.percentile``.

    Args:
        percent: near 0 or near 100 it is cheap.
    """
    count = int(picture.histogram.sum())
    rank, share = divmod(percent / 100 * (count - 1), 1)
    low, high = _ranked(picture, int(rank), count)
    return low + (high - low) * share


def grey_percentile(histogram: NDArray[np.int64], percent: int) -> float:
    """The same of an 8-bit grey picture, whose brightness is its level / 255, from its (256,) histogram."""
    reached = histogram.cumsum()
    rank, share = divmod(percent / 100 * (int(reached[-1]) - 1), 1)
    low, high = (
        float(np.searchsorted(reached, min(rank + step, reached[-1] - 1), side="right")) / 255 for step in (0, 1)
    )
    return low + (high - low) * share


def _ranked(picture: Picture, rank: int, count: int) -> tuple[float, float]:
    """Brightness of the pixels at ``rank`` and the next one, from 0 for the darkest."""
    from_top = rank >= count // 2
    # Ranks within the tail, counted from its extreme end.
    wanted = [count - 1 - rank, max(count - 2 - rank, 0)] if from_top else [rank, min(rank + 1, count - 1)]
    needed = max(wanted) + 1
    reached = picture.histogram[::-1].cumsum() if from_top else picture.histogram.cumsum()
    depth = int(np.searchsorted(reached, needed))
    squares = _tail(picture, 0, depth, from_top)
    (bound,) = _at_ranks(squares, [needed - 1])
    limits = -_BRIGHTEST[::-1] if from_top else _DARKEST
    further = int(np.searchsorted(limits, bound, side="right")) - 1
    if further > depth:
        others = _tail(picture, depth + 1, further, from_top)
        squares = np.concatenate([squares[squares <= bound], others[others <= bound]])
    low, high = (math.sqrt(abs(square) / 1000) / 255 for square in _at_ranks(squares, wanted))
    return low, high


def _at_ranks(squares: Squares, ranks: list[int]) -> list[int]:
    """The values that would stand at ``ranks`` if sorted."""
    least = squares.min()
    if np.count_nonzero(squares == least) > max(ranks):  # black or white ground, on which selecting is slow
        return [int(least)] * len(ranks)
    ordered = np.partition(squares, ranks)
    return [int(ordered[rank]) for rank in ranks]


def _tail(picture: Picture, first: int, last: int, from_top: bool) -> Squares:
    """1000 × squared brightness of the pixels in levels ``first`` to ``last``; from the top, both are negative."""
    low, high = (255 - last, 255 - first) if from_top else (first, last)
    at = np.flatnonzero(picture.levels.ravel() - np.uint8(low) <= np.uint8(high - low))  # unsigned: wraps below low
    bands = _bands(picture.rgb, at)
    squares = sum(weight * band * band for weight, band in zip(_WEIGHTS, bands, strict=True))
    return -squares if from_top else squares  # type: ignore[return-value]


def _bands(rgb: Image.Image, at: NDArray[np.intp]) -> list[NDArray[np.int32]]:
    """Red, green and blue of the pixels numbered ``at``."""
    if hasattr(rgb, "__arrow_c_array__"):
        try:
            words = pa.array(rgb).flatten().to_numpy().view("<u4")[at]
        except ValueError:  # a large image lies in several blocks
            pass
        else:
            return [((words >> shift) & 255).astype(np.int32) for shift in (0, 8, 16)]
    pixels = np.asarray(rgb).reshape(-1, 3)[at].astype(np.int32)
    return [pixels[:, band] for band in range(3)]


def _limits() -> tuple[Squares, Squares]:
    """Least and greatest 1000 × squared brightness of each luminance level; both rise with it."""
    level = np.arange(256)
    spread = sum(light * light * 1000 / weight for light, weight in zip(_LUMINANCE, _WEIGHTS, strict=True))
    darkest = np.floor(np.maximum(level - 0.51, 0) ** 2 / spread * 1000)
    brightest = np.zeros(256)
    # The squared brightness is convex, so its greatest value on a plane through the cube lies on an edge of the cube.
    for free in range(3):
        others = [band for band in range(3) if band != free]
        for ends in itertools.product((0, 255), repeat=2):
            fixed = dict(zip(others, ends, strict=True))
            rest = level + 0.51 - sum(_LUMINANCE[band] * value for band, value in fixed.items())
            value = np.clip(rest / _LUMINANCE[free], 0, 255)
            square = _WEIGHTS[free] * value**2 + sum(_WEIGHTS[band] * end**2 for band, end in fixed.items())
            brightest = np.maximum(brightest, np.where(rest >= 0, square, 0))
    return darkest.astype(np.int32), np.ceil(brightest).astype(np.int32)


_DARKEST, _BRIGHTEST = _limits()
