"""Vectors of a set on fewer axes: fitted once without the answers, so that nothing leaks from one fold to another.

The axes are the first eigenvectors of the uncentred second moments (a truncated singular value decomposition): of all
projections to as many axes they keep the inner products best, and so the cosines.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_FITTED = 20_000  # vectors that the axes are fitted to
_BLOCK = 8192


def project(values: NDArray[np.float16], rank: NDArray[np.uint64], most: int, file: BinaryIO) -> NDArray[np.float16]:
    """The vectors (n, width) on their ``most`` principal axes, memory-mapped; unchanged if they have no more.

    Args:
        rank: (n,) in whose order vectors are taken to fit the axes where there are more than 20,000.
        file: an empty file for the result.
    """
    count, width = values.shape
    if width <= most or not count:
        return values
    chosen = np.sort(np.lexsort((np.arange(count), rank))[:_FITTED])
    seen = np.asarray(values[chosen], np.float32)
    axes = np.linalg.eigh((seen.T @ seen).astype(np.float64))[1][:, : -most - 1 : -1].astype(np.float32)
    for start in range(0, count, _BLOCK):
        file.write((np.asarray(values[start : start + _BLOCK], np.float32) @ axes).astype(np.float16).tobytes())
    file.flush()
    return np.memmap(file, np.float16, "r", shape=(count, most))
