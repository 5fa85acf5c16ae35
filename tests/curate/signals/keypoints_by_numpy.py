"""Keypoints by their definition, in NumPy: what the compiled ones are compared with."""

import numpy as np

from curate.signals.keypoints import _FINE, _OFFSETS, _WAVES, _WIDE, KEPT, KEY_BITS, PROBED, SIGMAS, _blurred


def extrema(detail):
    """Layer, row and column of each keypoint, the most contrasted first."""
    height, width = detail.shape[1:]
    padded = np.pad(detail, 1, constant_values=np.nan)
    around = np.stack([
        padded[z : z + len(detail), y : y + height, x : x + width]
        for z in range(3) for y in range(3) for x in range(3)
    ])  # fmt: skip
    with np.errstate(invalid="ignore"):
        extreme = (detail == around.max(axis=0)) | (detail == around.min(axis=0))  # never beside the edge: NaN
    layer, y, x = np.nonzero(extreme & (np.abs(detail) > 0.25))
    near = {(down, right): detail[layer, y + down, x + right] for down in (-1, 0, 1) for right in (-1, 0, 1)}
    across, down = (near[step] + near[-step[0], -step[1]] - 2 * near[0, 0] for step in ((0, 1), (1, 0)))
    both = (near[1, 1] - near[1, -1] - near[-1, 1] + near[-1, -1]) / 4
    kept = np.flatnonzero((across + down) ** 2 * 10 < 11**2 * (across * down - both**2))
    kept = kept[np.argsort(-np.abs(near[0, 0][kept]), kind="stable")[:KEPT]]
    return layer[kept], y[kept], x[kept]


def vertex(before, middle, after):
    """Where a parabola through three values has its extremum."""
    bend = before - 2 * middle + after
    return np.clip((before - after) / (2 * np.where(np.abs(bend) > 1e-6, bend, np.inf)), -0.5, 0.5)


def keypoints(view):
    """Places (n, 3), coefficients (n, 64) and the least certain bits (n, 4) of a view's keypoints."""
    layers = _blurred(view)
    detail = layers[1:] - layers[:-1]
    layer, y, x = extrema(detail)
    place = np.stack([
        x + vertex(detail[layer, y, x - 1], detail[layer, y, x], detail[layer, y, x + 1]),
        y + vertex(detail[layer, y - 1, x], detail[layer, y, x], detail[layer, y + 1, x]),
        SIGMAS[layer] * 2 ** (vertex(detail[layer - 1, y, x], detail[layer, y, x], detail[layer + 1, y, x]) / 3),
    ], axis=1)  # fmt: skip
    signs = []
    for wider, coarser, used in ((1, 0, _FINE), (2, 3, _WIDE)):
        of = layers[np.minimum(layer + coarser, len(layers) - 1)]
        patches = [sampled(one, *at[:2], wider * at[2]) for one, at in zip(of, place, strict=True)]
        signs.append(np.reshape(patches, (-1, len(_WAVES))) @ _WAVES[:, :used])
    unsure = np.argsort(np.abs(signs[0][:, :KEY_BITS]), axis=1, kind="stable")[:, :PROBED]
    return place, np.concatenate(signs, axis=1), unsure


def sampled(layer, x, y, reach):
    """Bilinear samples of a square grid around a place."""
    height, width = layer.shape
    columns, rows = (x + reach * _OFFSETS).clip(0, width - 1.001), (y + reach * _OFFSETS).clip(0, height - 1.001)
    left, top = columns.astype(int), rows.astype(int)
    right, below = columns - left, (rows - top)[:, None]
    four = [layer[np.ix_(top + down, left + over)] for down in (0, 1) for over in (0, 1)]
    return (four[0] * (1 - right) + four[1] * right) * (1 - below) + (four[2] * (1 - right) + four[3] * right) * below
