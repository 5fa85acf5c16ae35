"""A small grey view of the picture and its keypoints, by which ``curate.duplicates.edits.search`` finds copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.signals.base import Pixels, Signal
from curate.signals.keypoints import POINT, SIDE, keypoints
from curate.signals.reduction import smaller

_LIGHT, _LIGHT_SHARE, _DARK = 160, 0.3, 120  # grey levels, share of the view
_FLAT_LIGHT, _FLAT = 0.7, 0.9  # share of the view that has one level
_AREA = 5  # pixels of a view, a side
_GAP = 2.0  # how much larger than the view what is filtered is at least


def look(pixels: Pixels) -> dict[str, Any]:
    """The view, its height and width before it, its keypoints, and whether it is like paper."""
    view = smaller(pixels.levels, SIDE, _GAP)
    return {
        "look": bytes(view.shape) + view.tobytes(),
        "keypoints": keypoints(view).tobytes(),
        "like_paper": _like_paper(view),
    }


def _like_paper(view: NDArray[np.uint8]) -> bool:
    """Drawings, pages, forms and receipts: flat, or in good part of one light level and nowhere dark over some area.

    Strangers among them share layouts and letters: no edits are sought among them.
    """
    height, width = view.shape
    near = np.convolve(np.bincount(view.ravel(), minlength=256), np.ones(17), "same")  # of levels within 8
    level = int(near.argmax())
    share = near[level] / view.size
    if level <= _LIGHT or share <= _LIGHT_SHARE:
        return bool(share > _FLAT)
    padded = np.pad(view, ((0, -height % _AREA), (0, -width % _AREA)), "edge")
    areas = padded.reshape(len(padded) // _AREA, _AREA, -1, _AREA).mean(axis=(1, 3))
    return bool(share > _FLAT_LIGHT or np.quantile(areas, 0.1) > _DARK)


SIGNALS = (
    Signal(
        "looks",
        3,
        {
            "look": f"height, width, then as many bytes: grey view, longer side {SIDE} pixels, aspect ratio kept",
            "keypoints": f"{POINT.itemsize} bytes for each of at most 40 points of the view: word, place and scale,"
            " least certain bits",
            "like_paper": "whether the view is flat, or light and nowhere dark, as drawings, pages and forms are",
        },
        look,
        {"look": pa.binary(), "keypoints": pa.binary(), "like_paper": pa.bool_()},
    ),
)
