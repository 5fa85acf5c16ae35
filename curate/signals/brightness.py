"""Exact percentiles of perceived brightness, without a square root or a full sort.

Brightness is √(0.241 R² + 0.691 G² + 0.068 B²), Darel Finley's HSP model (alienryderflex.com/hsp.html). Its square
× 1000 is an integer, summed strip by strip in 32 bits. A percentile near an end needs that tail only: a sample of the
pixels says where it begins, and only what lies beyond is kept and ordered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.signals.pixels import words_of

_WEIGHTS = (241, 691, 68)  # thousandths of R², G², B²
_STRIP = 1 << 15  # pixels at a time: what fits a near cache
_SAMPLED = 1 << 13  # pixels that tell where a tail begins
_MARGIN = 0.01  # share of the pixels by which a sampled tail is taken longer

Squares = NDArray[np.uint32]


def brightness_percentiles(rgb: Image.Image, percents: Sequence[int]) -> list[float]:
    """0–1: percentiles of brightness / 255, linear between ranks as ``numpy.percentile``.

    Args:
        percents: near 0 or near 100 they are cheap.
    """
    squares = squared(words_of(rgb).reshape(-1))
    sample = np.sort(squares[:: max(len(squares) // _SAMPLED, 1)])
    return [_percentile(squares, sample, percent / 100) for percent in percents]


def grey_percentile(histogram: NDArray[np.int64], percent: int) -> float:
    """The same of an 8-bit grey image, whose brightness is its level / 255, from its (256,) histogram."""
    reached = histogram.cumsum()
    rank, share = divmod(percent / 100 * (int(reached[-1]) - 1), 1)
    low, high = (
        float(np.searchsorted(reached, min(rank + step, reached[-1] - 1), side="right")) / 255 for step in (0, 1)
    )
    return low + (high - low) * share


def squared(words: Squares) -> Squares:
    """1000 × squared brightness of pixels as ``image.words_of`` gives them."""
    found = np.empty_like(words)
    spare = np.empty(min(_STRIP, len(words)), np.uint32)
    for start in range(0, len(words), _STRIP):
        strip, out = words[start : start + _STRIP], found[start : start + _STRIP]
        band = spare[: len(strip)]
        out[:] = 0
        for place, weight in enumerate(_WEIGHTS):
            np.right_shift(strip, np.uint32(8 * place), out=band)
            np.bitwise_and(band, np.uint32(255), out=band)
            np.multiply(band, band, out=band)
            np.multiply(band, np.uint32(weight), out=band)
            np.add(out, band, out=out)
    return found


def _percentile(squares: Squares, sample: Squares, part: float) -> float:
    count = len(squares)
    rank, share = divmod(part * (count - 1), 1)
    wanted = [int(rank), min(int(rank) + 1, count - 1)]
    low, high = (math.sqrt(square / 1000) / 255 for square in _at_ranks(squares, sample, wanted))
    return low + (high - low) * share


def _at_ranks(squares: Squares, sample: Squares, wanted: list[int]) -> list[int]:
    """The values that would stand at the neighbouring ranks ``wanted`` if all were sorted."""
    count, last = len(squares), len(sample) - 1
    if wanted[0] < count // 2:
        bound = sample[min(int((wanted[1] / count + _MARGIN) * last) + 1, last)]
        tail = squares[squares <= bound]
        before = 0
    else:
        bound = sample[max(int((wanted[0] / count - _MARGIN) * last), 0)]
        tail = squares[squares >= bound]
        before = count - len(tail)
    if not before <= wanted[0] <= wanted[1] < before + len(tail):  # the sample misled
        tail, before = squares, 0
    ends = {int(value) for value in (tail.min(), tail.max())}
    if len(ends) == 1:  # black or white ground, on which selecting is slow
        return [ends.pop()] * len(wanted)
    ranks = [rank - before for rank in wanted]
    ordered = np.partition(tail, ranks)
    return [int(ordered[rank]) for rank in ranks]
