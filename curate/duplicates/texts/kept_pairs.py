"""Pairs of similar texts, kept between runs: only a text to which others are proposed than before is compared again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.arrays import read_arrays, write_arrays
from curate.duplicates.mixing import Hashes, first_equal, mixed
from curate.duplicates.texts.shingles import Shingles
from curate.duplicates.texts.signatures import SLOTS, Signatures, neighbours
from curate.duplicates.texts.similar_pairs import TextPairs, ordered_pairs, pairs_where

_VERSION = 1  # raise it when the same texts have other pairs
_META = "made by"


def kept_pairs(path: Path, digests: Hashes, shingles: Shingles, signatures: Signatures, threshold: float) -> TextPairs:
    """``similar_pairs`` of texts, with the help of a file that an earlier call has left; brings it up to date.

    Args:
        digests: uint64 (2, n), each column stands for a text.

    Raises:
        UserError: the file cannot be written.
    """
    proposed = _proposed(signatures, digests)
    made_by = json.dumps([_VERSION, threshold])
    pairs, is_known = _earlier(path, made_by, digests, proposed)
    if not is_known.all():
        new = pairs_where(shingles, signatures, threshold, lambda i, j: ~is_known[j])
        pairs = ordered_pairs(pairs, new)
    columns = {"high": digests[0], "low": digests[1], "proposed_high": proposed[0], "proposed_low": proposed[1]}
    columns |= {"i": pairs.i.astype(np.uint32), "j": pairs.j.astype(np.uint32), "jaccard": pairs.jaccard}
    write_arrays(path, columns, {_META: made_by})
    return pairs


def _proposed(signatures: Signatures, digests: Hashes) -> Hashes:
    """For each text 128 bits of which texts are proposed to it, in which slots of which bands: uint64 (2, n)."""
    found = np.zeros_like(digests)
    salts = np.arange(len(signatures.buckets) * SLOTS, dtype=np.uint64).reshape(-1, SLOTS)
    factors = mixed(salts.reshape(-1)).reshape(salts.shape) | np.uint64(1)
    for bucket, of_band in zip(signatures.buckets, factors, strict=True):
        for (i, j), factor in zip(neighbours(bucket), of_band, strict=True):
            found[:, j] += digests[:, i] * factor
    return found


def _earlier(path: Path, made_by: str, digests: Hashes, proposed: Hashes) -> tuple[TextPairs, NDArray[np.bool_]]:
    """The pairs of an earlier run that still hold, and of which texts all are known."""
    is_known = np.zeros(digests.shape[1], bool)
    none = TextPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    try:
        before, noted = read_arrays(path)
        if noted.get(_META) != made_by:
            return none, is_known
    except (OSError, ValueError, pa.ArrowException):
        return none, is_known
    count = len(before["high"])
    first = first_equal(
        *(np.concatenate([before[half], of]) for half, of in zip(("high", "low"), digests, strict=True))
    )
    earlier = first[count:]  # of each text its number in the earlier run; not below ``count`` without
    there = np.flatnonzero(earlier < count)
    place = np.full(count, -1)
    place[earlier[there]] = there
    same = [
        before[f"proposed_{half}"][earlier[there]] == of[there]
        for half, of in zip(("high", "low"), proposed, strict=True)
    ]
    is_known[there[same[0] & same[1]]] = True
    i, j = place[before["i"]], place[before["j"]]
    holds = np.append(is_known, False)[j]  # of -1: the last
    return ordered_pairs(TextPairs(i[holds], j[holds], before["jaccard"][holds])), is_known
