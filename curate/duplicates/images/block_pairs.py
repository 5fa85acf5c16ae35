"""The search for the same image in a large set: blocks of images against blocks, each pair of blocks a task of its own.

A task is a pure function of the fingerprints of two blocks, and is named by them: images that are added are compared
with all, a block that is gone takes its files with it, and all else stays. The tasks run in any number of processes or
on any machine.

Where a block ends is told by the digests of the parts themselves, so that a part which comes or goes changes its own
block only. A part has a level: how many zero bits end its digest. It ends a block that reaches back to the last part of
its own or a higher level. So old parts lie in large blocks, and the newest in blocks of few parts that are soon joined
to larger ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.duplicates.hamming import Hashes, Pairs
from curate.duplicates.images.matching import SearchResult, joined_results, search_between, search_matches
from curate.duplicates.images.stored import FACTS, THUMBNAILS, StoredFingerprints, open_fingerprints
from curate.settings.copies import MatchSettings
from winnow.files import digest_of
from winnow.parquet.table_parts import Parts, PartTask, Runner, run_here
from winnow.parquet.tables import write_parquet

_VERSION = 1  # raise it when the same fingerprints make other pairs
_HIGHEST = 7  # level at which a block is never joined to others: it has 128 parts on average
_NEAR = 255  # in ``found``, a confirmed pair of images; else the number of the hash whose values make a dense bucket
PAIRS = pa.schema([("found", pa.uint8()), ("i", pa.uint64()), ("j", pa.uint64())])


@dataclass(frozen=True)
class Block:
    """The images of consecutive parts.

    Attributes:
        start, stop: the first image, and the one after the last.
        digest: equal ones have equal fingerprints.
    """

    start: int
    stop: int
    digest: str


def blocks_of(digests: Sequence[str], starts: Sequence[int]) -> list[Block]:
    """Cut parts into blocks.

    Args:
        digests: hexadecimal, of each part.
        starts: the first image of each part, and at the end the number of images.
    """
    ends: list[tuple[int, int]] = []  # level and number of the last part of each block
    for number, digest in enumerate(digests):
        level = _level(digest)
        while ends and ends[-1][0] < level:
            ends.pop()
        ends.append((level, number))
    cuts = [0, *(number + 1 for _, number in ends)]
    return [
        Block(starts[first], starts[last], digest_of(list(digests[first:last])))
        for first, last in itertools.pairwise(cuts)
    ]


def _level(digest: str) -> int:
    low = int(digest[-8:], 16) | 1 << _HIGHEST
    return (low & -low).bit_length() - 1


def search_stored(stored: StoredFingerprints, settings: MatchSettings, runner: Runner = run_here) -> SearchResult:
    """All confirmed pairs of the images of a set; what is known of pairs of blocks is not searched for again.

    Raises:
        UserError: the result cannot be written.
    """
    asked = settings.model_dump(mode="json", include=set(MatchSettings.model_fields))
    count = len(stored.fingerprints)
    blocks = blocks_of(stored.digests, [*stored.starts.values(), count])
    both = list(itertools.combinations_with_replacement(blocks, 2))
    tasks = [_task(stored.folder, a, b, settings) for a, b in both]
    parts = Parts(stored.folder / f"pairs-{digest_of(asked)[:16]}")
    named = {task.name: task for task in tasks}
    items = [(parts.folder / name, named[name].args) for name in parts.missing(named)]
    for _ in runner(write_pairs)(items):
        pass
    parts.finish([task.name for task in tasks])
    near: list[Pairs] = []
    dense: list[list[Hashes]] = [[] for _ in stored.fingerprints.hashes(settings)]
    for path, (a, b) in zip(parts.files(), both, strict=True):
        kind, i, j = (column.to_numpy() for column in pq.ParquetFile(path).read().columns)
        here = kind == _NEAR
        near.append((i[here].astype(np.int64) + a.start, j[here].astype(np.int64) + b.start))
        for number, buckets in enumerate(dense):
            buckets.append(np.stack([i, j], axis=1)[kind == number])
    return joined_results(near, dense, count)


def _task(folder: Path, a: Block, b: Block, settings: MatchSettings) -> PartTask:
    asked = settings.model_dump(mode="json", include=set(MatchSettings.model_fields))
    key = [_VERSION, a.digest, b.digest, a == b, asked]
    return PartTask(key, (folder / FACTS, folder / THUMBNAILS, (a.start, a.stop), (b.start, b.stop), settings))


def write_pairs(item: tuple[Path, tuple[Any, ...]]) -> None:
    """Write the pairs of two blocks to a path: images are numbered from 0 in each block, ``i`` is of the first."""
    path, (facts, thumbnails, first, second, settings) = item
    a = open_fingerprints(facts, thumbnails, *first)
    if first == second:
        found, shift = search_matches(a, settings), 0
    else:
        found, shift = search_between(a, open_fingerprints(facts, thumbnails, *second), settings), len(a)
    near = (found.near - [0, shift]).astype(np.uint64)
    kinds = [(_NEAR, near), *enumerate(found.dense_buckets)]
    columns = [np.concatenate([np.full(len(pairs), kind, np.uint8) for kind, pairs in kinds])]
    columns += [np.concatenate([pairs[:, side] for _, pairs in kinds]) for side in (0, 1)]
    write_parquet(path, [pa.table(columns, PAIRS)], PAIRS)
