"""Where an export goes, and in what size of pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from curate.exports.rows import Reject, Row

MOST_ROWS = 20_000  # in one shard: they are held in memory, without their pictures, until it is written


@dataclass(frozen=True)
class Target:
    """Attributes:
    folder: an empty folder, or one that an interrupted run of the same export has begun to fill.
    name: of the curated set.
    splits: a file, or a row of shards, for each.
    copy: pictures go along; else rows name them where they lie.
    shard_bytes: a shard is closed before it grows beyond this; one row alone may be larger.
    reject: called with each row that the format cannot hold.
    """

    folder: Path
    name: str
    splits: tuple[str, ...]
    copy: bool
    shard_bytes: int
    reject: Reject


@dataclass(frozen=True)
class Shard:
    """Rows that go into one file: ``<split>-<number>``."""

    split: str
    number: int
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Without suffix."""
        return f"{self.split}-{self.number:05d}"


def shards(rows: Iterable[Row], limit: int, size_of: Callable[[Row], int]) -> Iterator[Shard]:
    """Cut the rows of each split, in order, into shards of at most ``limit`` bytes (by ``size_of``) and 20,000 rows.

    The cut depends on rows and limit alone, so that an interrupted export finds its finished shards again.
    """
    waiting: dict[str, list[Row]] = {}
    held: dict[str, int] = {}
    numbers: dict[str, int] = {}

    def close(split: str) -> Shard:
        shard = Shard(split, numbers.get(split, 0), tuple(waiting.pop(split)))
        numbers[split] = shard.number + 1
        held[split] = 0
        return shard

    for row in rows:
        size = size_of(row)
        begun = waiting.get(row.split)
        if begun and (held[row.split] + size > limit or len(begun) >= MOST_ROWS):
            yield close(row.split)
        waiting.setdefault(row.split, []).append(row)
        held[row.split] = held.get(row.split, 0) + size
    for split in list(waiting):
        yield close(split)
