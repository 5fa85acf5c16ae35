"""How one image may be a copy of another, and a pair of images that were found to be such copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

Kind = Literal[
    "exact", "re-encoded", "resized", "toned", "brighter", "cropped", "framed", "overlaid", "mirrored", "turned",
    "semantic",
]  # fmt: skip
# In the order of certainty: of a pair that could be several, the first is its kind.
KINDS: tuple[Kind, ...] = get_args(Kind)
# Found by ``curate.duplicates.edits.search``; the kinds before them are found by the strict look of ``fingerprints``.
EDITS: tuple[Kind, ...] = ("toned", "brighter", "cropped", "framed", "overlaid", "mirrored", "turned")
MEANING: dict[Kind, str] = {
    "exact": "the same bytes",
    "re-encoded": "stored again: another format, or another quality of JPEG",
    "resized": "stored at another size",
    "toned": "grey, sepia or tinted",
    "brighter": "brighter, darker, or with another contrast or gamma",
    "cropped": "one shows a part of the other",
    "framed": "one lies in a border, or in bars",
    "overlaid": "text, a logo or a banner covers a part",
    "mirrored": "left and right are exchanged",
    "turned": "turned by some degrees",
    "semantic": "another picture of the same thing: its embedding is near",
}


def limited_search(images: int) -> str:
    """What it means that the search for edited copies was limited for so many images."""
    return (
        f"{images:,} images have keypoints in common with so many others (as pictures of one pattern have) that edited"
        " copies of them were sought only among those most like them; copies may be missed"
    )


@dataclass(frozen=True)
class KindPairs:
    """Pairs of images that are copies of each other, arrays of one length.

    Attributes:
        i, j: int64, indices of the images; each pair once.
        kind: uint8, index into ``KINDS``.
        strength: float32, 0 to 1: how alike the two are after the edit is undone; 1 is equal.
    """

    i: Indices
    j: Indices
    kind: NDArray[np.uint8]
    strength: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.i)
