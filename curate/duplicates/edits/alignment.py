"""Lay one small view over another, and tell how alike they are and what was done to one of them.

An affine map and a gain and offset of the grey levels are fitted by Gauss-Newton steps with weights that give little
to what does not fit (Lucas and Kanade 1981; Geman and McClure's weights), first on blurred views. What the two show in
common is then cut into 8 × 8 blocks, and each block is correlated by itself, so that an overlay costs only the blocks
that it covers and a change of tone costs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.edits.looks import Looks
from curate.duplicates.hamming import Indices
from curate.signals.keypoints import SIDE, Floats

_STEPS = ((2.5, 6), (1.0, 5))  # sigma of the blur, Gauss-Newton steps
_POINTS = 24  # of the grid that is fitted, a side
_BLOCKS, _IN_BLOCK = 8, 5
_TEXTURE = 3.0  # grey levels: deviation from which a block has something to correlate
_AGREES = 0.7  # correlation of a block
_SURE = 0.8  # correlation of a block that nothing covers
_ODD = 7.0  # grey levels that are left of a block's differences once the tones are matched
_PLAINLY = 2.0  # how much more that is where one block is enough
_LEVELS = 16  # of the curve of tones

Bools = NDArray[np.bool_]


def _blur(sigma: float) -> Floats:
    """(80, 80): a Gaussian filter that repeats the edges."""
    radius = int(np.ceil(3.5 * sigma))
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    made = np.zeros((SIDE, SIDE))
    for row in range(SIDE):
        np.add.at(made[row], np.clip(row + steps, 0, SIDE - 1), weights)
    matrix: Floats = (made / weights.sum()).astype(np.float32)
    return matrix


_COARSE, _FINE = (_blur(sigma) for sigma, _ in _STEPS)


@dataclass(frozen=True)
class Laid:
    """One view (the first) laid over another (the second), for n pairs.

    Attributes:
        map: float32 (n, 2, 3): x, y of the first → x, y of the second, in pixels of the views.
        inside: float32 (n, 2): share of the first that lies in the second, and of the second that the first covers.
        alike: float32 (n,), 0 to 1: correlation of the blocks, weighted by their texture.
        agreeing: float32 (n,): number of textured blocks that agree, of 64.
        textured: float32 (n,): number of textured blocks.
        odd: uint8 (n, 8, 8): 1 of blocks that differ although the tones were matched, 2 if by far.
        shift: float32 (n,), grey levels: how far the tones differ.
    """

    map: Floats
    inside: Floats
    alike: Floats
    agreeing: Floats
    textured: Floats
    odd: NDArray[np.uint8]
    shift: Floats


def overlap(map_: Floats, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """(n, 4): left, top, right, bottom of what both show, in pixels of the first; turning is left out of account."""
    sides = []
    for axis in (0, 1):
        scale = np.maximum(map_[:, axis, axis], 1e-3)
        low = -map_[:, axis, 2] - map_[:, axis, 1 - axis] * (first[:, axis] - 1) / 2
        high = low + second[:, 1 - axis] - 1
        ends = first[:, 1 - axis] - 1.0
        sides.append((np.clip(low / scale, 0, ends), np.clip(high / scale, 0, ends)))
    (left, right), (top, bottom) = sides
    return np.stack([left, top, right, bottom], axis=1).astype(np.float32)


def _grid(box: Floats, count: int) -> tuple[Floats, Floats]:
    """x and y (n, count²) of a grid of places in each box."""
    share = (np.arange(count, dtype=np.float32) + 0.5) / count
    x = box[:, :1] + (box[:, 2:3] - box[:, :1]) * share
    y = box[:, 1:2] + (box[:, 3:] - box[:, 1:2]) * share
    shape = (len(box), count, count)
    return (np.broadcast_to(x[:, None, :], shape).reshape(len(box), -1),
            np.broadcast_to(y[:, :, None], shape).reshape(len(box), -1))  # fmt: skip


def _moved(map_: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    one, two = (map_[:, axis, :1] * x + map_[:, axis, 1:2] * y + map_[:, axis, 2:] for axis in (0, 1))
    return one, two


def _sampled(views: NDArray[Any], x: Floats, y: Floats, which: Indices | None = None) -> Floats:
    """(n, m) bilinear samples of (n, 80, 80), or of these n of them."""
    x, y = np.clip(x, 0, SIDE - 1.001), np.clip(y, 0, SIDE - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    right, below = x - left, y - top
    which = (np.arange(len(views)) if which is None else which)[:, None]
    upper = views[which, top, left] * (1 - right) + views[which, top, left + 1] * right
    lower = views[which, top + 1, left] * (1 - right) + views[which, top + 1, left + 1] * right
    made: Floats = upper * (1 - below) + lower * below
    return made


def _within(x: Floats, y: Floats, shapes: NDArray[np.uint8]) -> Bools:
    made: Bools = (x >= 0) & (y >= 0) & (x <= shapes[:, 1:] - 1.0) & (y <= shapes[:, :1] - 1.0)
    return made


def correlation(one: Floats, other: Floats, weight: Floats) -> Floats:
    """Weighted correlation along the last axis; 0 where one of them is flat."""
    total = np.maximum(weight.sum(axis=-1, keepdims=True), 1e-6)
    one = one - (one * weight).sum(axis=-1, keepdims=True) / total
    other = other - (other * weight).sum(axis=-1, keepdims=True) / total
    spread = np.sqrt((one**2 * weight).sum(axis=-1) * (other**2 * weight).sum(axis=-1))
    made: Floats = (one * other * weight).sum(axis=-1) / np.maximum(spread, 1e-3)
    return made


def glance(map_: Floats, first: tuple[Looks, Indices], second: tuple[Looks, Indices], mirrored: Bools) -> Floats:
    """Correlation of the pairs at 64 places, as the map lays them: a cheap first test that reads only these places.

    Args:
        map_: (n, 2, 3), for the first one as it is mirrored.
        first, second: images of some looks.
        mirrored: whether the first one is.
    """
    shapes = [looks.shapes[images] for looks, images in (first, second)]
    x, y = (np.rint(values) for values in _grid(overlap(map_, *shapes), 8))
    moved = _moved(map_, x, y)
    weight = _within(*moved, shapes[1]).astype(np.float32)
    x = np.where(mirrored[:, None], shapes[0][:, 1:] - np.float32(1) - x, x)
    one = first[0].views[first[1][:, None], y.astype(np.int32), x.astype(np.int32)].astype(np.float32)
    other = _sampled(second[0].views, *moved, second[1])
    return np.where(weight.mean(axis=1) > 0.5, correlation(one, other, weight), 0).astype(np.float32)


def lay(
    map_: Floats, views: tuple[NDArray[np.uint8], NDArray[np.uint8]], shapes: tuple[NDArray[np.uint8], ...]
) -> Laid:
    """Fit the map of each pair, from a rough one, and compare what the two show in common.

    Args:
        map_: (n, 2, 3).
        views, shapes: of the first and the second of each pair.
    """
    levels = [one.astype(np.float32) for one in views]
    for blur, (_, steps) in zip((_COARSE, _FINE), _STEPS, strict=True):
        blurred: list[Floats] = [blur @ one @ blur.T for one in levels]
        for _ in range(steps):
            map_ = _step(map_, blurred, shapes)
    fine: list[Floats] = [_FINE @ one @ _FINE.T for one in levels]
    return _compared(map_, fine, shapes)


def _step(map_: Floats, views: list[Floats], shapes: tuple[NDArray[np.uint8], ...]) -> Floats:
    x, y = _grid(overlap(map_, *shapes), _POINTS)
    moved = _moved(map_, x, y)
    valid = _within(*moved, shapes[1])
    one, other = _sampled(views[0], x, y), _sampled(views[1], *moved)
    across = _sampled(views[1], moved[0] + 0.5, moved[1]) - _sampled(views[1], moved[0] - 0.5, moved[1])
    down = _sampled(views[1], moved[0], moved[1] + 0.5) - _sampled(views[1], moved[0], moved[1] - 0.5)
    weight = valid.astype(np.float32)
    gain, offset = _linear(one, other, weight)
    rest = other - gain * one - offset
    for _ in range(2):
        scale = 1.5 * _middle(np.abs(rest), valid) + 1.0
        weight = valid / (1 + (rest / scale) ** 2) ** 2
        gain, offset = _linear(one, other, weight)
        rest = other - gain * one - offset
    u, v = (x - SIDE / 2) / SIDE, (y - SIDE / 2) / SIDE
    slopes = np.stack([across * u, across * v, across, down * u, down * v, down, -one / 64, -np.ones_like(one)], axis=1)
    weighted = slopes * weight[:, None, :]
    normal = weighted @ slopes.transpose(0, 2, 1)
    ridge = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None] / 8 + 1e-3
    normal += ridge[:, :, None] * np.eye(8, dtype=np.float32)
    found = np.linalg.solve(normal, -(weighted @ rest[:, :, None]))[:, :6, 0].reshape(-1, 2, 3)
    found = np.clip(found, -12, 12)
    made = map_.copy()
    made[:, :, :2] += found[:, :, :2] / SIDE
    made[:, :, 2] += found[:, :, 2] - found[:, :, :2].sum(axis=2) / 2
    return made


def _middle(values: Floats, valid: Bools) -> Floats:
    ordered = np.sort(np.where(valid, values, np.inf), axis=1)
    place = np.maximum(valid.sum(axis=1) // 2, 0)
    made = ordered[np.arange(len(values)), np.minimum(place, values.shape[1] - 1)]
    return np.where(np.isfinite(made), made, 1.0)[:, None].astype(np.float32)


def _linear(one: Floats, other: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Gain and offset (n, 1) of the line that gives ``other`` from ``one``; the gain is positive."""
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
    mean, mean_other = ((values * weight).sum(axis=1, keepdims=True) / total for values in (one, other))
    spread = ((one - mean) ** 2 * weight).sum(axis=1, keepdims=True)
    both = ((one - mean) * (other - mean_other) * weight).sum(axis=1, keepdims=True)
    gain = np.clip(both / np.maximum(spread, 1e-3), 0.1, 10)
    return gain, mean_other - gain * mean


def _compared(map_: Floats, views: list[Floats], shapes: tuple[NDArray[np.uint8], ...]) -> Laid:
    count = _BLOCKS * _IN_BLOCK
    box = overlap(map_, *shapes)
    x, y = _grid(box, count)
    moved = _moved(map_, x, y)
    valid = _within(*moved, shapes[1])
    one, other = _sampled(views[0], x, y), _sampled(views[1], *moved)
    rest = np.minimum(np.abs(_tones(one, other, valid) - other), np.abs(_tones(other, one, valid) - one))
    one_, other_, valid_, rest_ = (_blocks(values) for values in (one, other, valid.astype(np.float32), rest))
    whole = valid_.mean(axis=2) > 0.8
    spread = [_spread(values) for values in (one_, other_)]
    textured = whole & (np.maximum(*spread) > _TEXTURE)
    alike = correlation(one_, other_, valid_)
    # A block that is clipped to white or black in one of the two has no texture left there: it does not count.
    clipped = textured & (np.minimum(*spread) < 1.5) & (rest_.mean(axis=2) < 6)
    textured &= ~clipped
    agree = textured & (alike > _AGREES)
    left_over = np.where(whole, rest_.mean(axis=2), np.nan)
    usual = np.nanmedian(np.where(whole.any(axis=1, keepdims=True), left_over, 0), axis=1)[:, None]
    differs = np.where(whole & (alike < _SURE), rest_.mean(axis=2) / np.maximum(_ODD, 4 * usual), 0)
    odd = (differs > 1).astype(np.uint8) + (differs > _PLAINLY)
    weight = np.minimum(np.maximum(*spread), 12.0) * textured
    score = (alike.clip(0, 1) * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) * valid.mean(axis=1)
    grown = np.abs(map_[:, 0, 0] * map_[:, 1, 1] - map_[:, 0, 1] * map_[:, 1, 0])
    sizes = [np.maximum((shape[:, 0] - 1.0) * (shape[:, 1] - 1.0), 1) for shape in shapes]
    inside = np.stack([area / sizes[0], area * grown / sizes[1]], axis=1)
    shift = (np.abs(one - other) * valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
    return Laid(
        map_,
        inside.astype(np.float32),
        score.astype(np.float32),
        agree.sum(axis=1).astype(np.float32),
        textured.sum(axis=1).astype(np.float32),
        odd.reshape(-1, _BLOCKS, _BLOCKS),
        shift.astype(np.float32),
    )


def _tones(one: Floats, other: Floats, valid: Bools) -> Floats:
    """``other`` as the levels of ``one`` alone tell it: a line, and what is left of it at each of 16 levels."""
    level = np.clip(one / (256 / _LEVELS), 0, _LEVELS - 1).astype(np.int64)
    cell = np.arange(len(one))[:, None] * _LEVELS + level
    weight = valid.astype(np.float32)
    for _ in range(2):
        gain, offset = _linear(one, other, weight)
        rest = other - gain * one - offset
        weight = valid / (1 + (rest / (1.5 * _middle(np.abs(rest), valid) + 4)) ** 2)
    total = np.bincount(cell.ravel(), weight.ravel(), len(one) * _LEVELS)
    summed = np.bincount(cell.ravel(), (rest * weight).ravel(), len(one) * _LEVELS)
    curve = (summed / (total + 4)).astype(np.float32)
    made: Floats = np.clip(gain * one + offset + curve[cell], 0, 255)
    return made


def _blocks(values: Floats) -> Floats:
    """(n, 64, 25) of (n, 1600)."""
    cut = values.reshape(-1, _BLOCKS, _IN_BLOCK, _BLOCKS, _IN_BLOCK).transpose(0, 1, 3, 2, 4)
    return cut.reshape(len(values), _BLOCKS * _BLOCKS, -1)


def _spread(values: Floats) -> Floats:
    made: Floats = values.std(axis=2)
    return made
