"""The evaluation images that each training image looks like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.looks import Looks, matches
from curate.recipe import MatchSettings

_KEPT = 16  # closest evaluation images that are kept of a training image; one of them may carry its question
_HELD = 1 << 20  # pairs in memory above which the farther ones are thrown away
_PAIR = np.dtype([("look", np.int64), ("distance", np.float64), ("evaluation_look", np.int64), ("hamming", np.int32)])


def closest_matches(train: Looks, evaluation: Looks, settings: MatchSettings) -> pa.Table:
    """Confirmed pairs: ``look`` (index into ``train``), ``evaluation_look``, ``distance``, ``hamming``.

    Of each training look the 16 closest, and of each evaluation look at least the closest one.
    """
    held = np.empty(0, _PAIR)
    blocks: list[NDArray[np.void]] = []
    waiting = 0
    for i, j, apart in matches(train, evaluation, settings):
        block = np.empty(len(i), _PAIR)
        block["look"], block["evaluation_look"] = i, j
        block["distance"], block["hamming"] = apart.mean, apart.bits
        blocks.append(block)
        waiting += len(i)
        if waiting > _HELD:
            held, blocks, waiting = _thinned(np.concatenate([held, *blocks])), [], 0
    held = _thinned(np.concatenate([held, *blocks]))
    return pa.table({name: held[name] for name in _PAIR.names or ()})


def _thinned(pairs: NDArray[np.void]) -> NDArray[np.void]:
    pairs = pairs[np.lexsort((pairs["evaluation_look"], pairs["distance"], pairs["look"]))]
    return pairs[(_place(pairs["look"]) < _KEPT) | _is_closest(pairs)]


def _place(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal values come before each, in a sorted array."""
    return np.arange(len(ordered)) - np.searchsorted(ordered, ordered)


def _is_closest(pairs: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether a pair is the closest one of its evaluation look."""
    order = np.lexsort((pairs["look"], pairs["distance"], pairs["evaluation_look"]))
    closest = np.empty(len(pairs), bool)
    closest[order] = _place(pairs["evaluation_look"][order]) == 0
    return closest
