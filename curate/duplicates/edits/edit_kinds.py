"""Which edit makes one image of a confirmed pair of the other: the one that changes most names the pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.edits.alignment import Bools, Laid
from curate.duplicates.edits.looks import Looks
from curate.duplicates.hamming import Indices
from curate.kinds import KINDS
from curate.signals.keypoints import Floats

_TURNED = 0.75  # degrees
_WHOLE = 0.965  # share of a view that the other must cover to be no part of it
_MOVED = 2.0  # pixels of a view that a corner moves
_PLAIN, _STEP = 4.0, 2.0  # grey levels a pixel: along a border at most, and from it to the picture at least
_ODD = 2  # blocks that differ, of 64; one that differs by far counts twice
_LOST = 0.5  # share of the spread of colours
_SHIFTED = 3.0  # grey levels


def kind_of(
    laid: Laid,
    views: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    shapes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    mirrored: Bools,
    first: tuple[Looks, Indices],
    second: tuple[Looks, Indices],
) -> NDArray[np.uint8]:
    """Index into ``KINDS`` for each pair."""
    (a, j), (b, i) = first, second
    bend = laid.map[:, :, :2]
    angle = np.degrees(np.arctan2(bend[:, 1, 0] - bend[:, 0, 1], bend[:, 0, 0] + bend[:, 1, 1]))
    smaller = (laid.inside.min(axis=1) < _WHOLE) & (_moved_by(laid, shapes[0]) > _MOVED)
    odd = laid.odd.sum(axis=(1, 2))
    covered = laid.odd > 0
    edges = covered.mean(axis=2)[:, [0, -1]], covered.mean(axis=1)[:, [0, -1]]
    barred = np.maximum(*(pair.min(axis=1) for pair in edges)) > 0.7
    framed = (smaller & _bordered(laid, views, shapes)) | (~smaller & barred)
    tests = {
        "turned": np.abs(angle) > _TURNED,
        "mirrored": mirrored,
        "framed": framed,
        "cropped": smaller,
        "overlaid": odd >= _ODD,
        "toned": _toned(a.colors[j], b.colors[i]),
        "brighter": laid.shift > _SHIFTED,
        "resized": (a.sizes[j] != b.sizes[i]).any(axis=1),
    }
    names = [KINDS.index(name) for name in tests]
    return np.select(list(tests.values()), names, KINDS.index("re-encoded")).astype(np.uint8)


def _moved_by(laid: Laid, shapes: NDArray[np.uint8]) -> Floats:
    """How far the corner of the first view moves that moves farthest, in pixels."""
    ends = shapes[:, ::-1].astype(np.float32) - 1
    corners = np.stack([ends * corner for corner in ((0, 0), (1, 0), (0, 1), (1, 1))], axis=2)
    moved = laid.map[:, :, :2] @ corners + laid.map[:, :, 2:]
    made: Floats = np.abs(moved - corners).max(axis=(1, 2))
    return made


def _toned(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Bools:
    """Whether one has lost its colours, or has others."""
    spreads, means = [], []
    for colors in (one, other):
        cells = colors.reshape(len(colors), -1, 3).astype(np.float32)
        light = cells.mean(axis=(1, 2))[:, None] + 8
        chroma = cells[:, :, [0, 2]] - cells[:, :, 1:2]
        spreads.append(chroma.std(axis=1).mean(axis=1) / light[:, 0])
        means.append(chroma.mean(axis=1) / light)
    low, high = np.minimum(*spreads), np.maximum(*spreads)
    lost = (low < _LOST * high) & (high > 0.025)
    made: Bools = lost | (np.abs(means[0] - means[1]).max(axis=1) > 0.25)
    return made


def _bordered(
    laid: Laid, views: tuple[NDArray[np.uint8], NDArray[np.uint8]], shapes: tuple[NDArray[np.uint8], ...]
) -> Bools:
    """Whether what surrounds the smaller view in the larger one is plain and ends at its edge."""
    made = np.zeros(len(laid.map), bool)
    for k in range(len(made)):
        map_ = laid.map[k].astype(np.float64)
        inner, outer = (0, 1) if laid.inside[k, 0] >= laid.inside[k, 1] else (1, 0)
        if inner == 1:
            straight = np.linalg.inv(map_[:, :2])
            map_ = np.concatenate([straight, -straight @ map_[:, 2:]], axis=1)
        height, width = shapes[outer][k].astype(int)
        view = views[outer][k, :height, :width].astype(np.float32)
        corners = map_ @ np.array([[0, shapes[inner][k, 1] - 1.0], [0, shapes[inner][k, 0] - 1.0], [1, 1]])
        (left, right), (top, bottom) = corners
        y, x = np.mgrid[:height, :width]
        beside, above = np.maximum(left - x, x - right), np.maximum(top - y, y - bottom)
        made[k] = _is_border(view, np.maximum(beside, above), beside > above)
    return made


def _is_border(view: Floats, reach: NDArray[np.float64], sideways: Bools) -> bool:
    """``reach``: how far each pixel lies outside of the inner view, in pixels; negative within."""
    outside = reach > 0.7
    if not outside.any() or min(view.shape) < 2:
        return False
    down, across = (np.abs(steps) for steps in np.gradient(view))
    along = np.where(sideways, down, across)
    steep = np.where(sideways, across, down)
    return bool(np.quantile(along[outside], 0.75) < _PLAIN and np.median(steep[np.abs(reach) <= 1.0]) > _STEP)
