"""The rows that may repeat or contradict another one, as numbers: what ``curate.duplicates.kept`` chooses among.

They lie in ``workspace.comparable_rows``, uncompressed and mapped into memory. Rows, questions and answers are compared
by the digests of ``curate.row_keys``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.duplicates.arrays import read_arrays, write_arrays
from curate.duplicates.mixing import Hashes, Indices, first_equal


@dataclass(frozen=True)
class Images:
    """What is known of the images by number.

    Attributes:
        keys: 64 bits of each image's key, 0 for one that cannot be compared.
        pixels: width × height.
        digests: of what is compared of them.
        stars: the representative of each, itself without copies.
        has_copies: whether it is in a star of several.
    """

    keys: Hashes
    pixels: Indices
    digests: Hashes
    stars: Indices
    has_copies: NDArray[np.bool_]


@dataclass(frozen=True)
class AllRows:
    """All rows as numbers, with their images by number (-1 for one that cannot be compared).

    Attributes:
        half: gives a column of ``curate.row_keys``: of id, said and answer one of the halves.
        offsets: where the images of each row begin in ``numbers``, and the end of the last.
    """

    half: Callable[[str], Hashes]
    votes: NDArray[np.int32]
    offsets: Indices
    numbers: Indices

    @classmethod
    def read(cls, files: Sequence[Path], keys: Hashes) -> AllRows:
        """Read them from parts of the row keys; ``keys`` are those of the images by number. Halves are read when they
        are asked for.
        """
        tables = [pq.ParquetFile(path).read(["votes", "images"]) for path in files]
        lists = [chunk for table in tables for chunk in table["images"].chunks]
        counts = [chunk.value_lengths().to_numpy() for chunk in lists]
        shown = _joined([pa.chunked_array([chunk.flatten()], pa.uint64()) for chunk in lists], np.uint64)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *counts]))]).astype(np.int64)
        known = np.flatnonzero(keys)
        known = known[np.argsort(keys[known])]
        numbers = np.full(len(shown), -1)
        if len(known):
            place = np.minimum(np.searchsorted(keys[known], shown), len(known) - 1)
            numbers = np.where(keys[known[place]] == shown, known[place], -1)
        votes = _joined([table["votes"].fill_null(0) for table in tables], np.int32)

        @functools.cache
        def half(name: str) -> Hashes:
            return _joined([pq.ParquetFile(path).read([name])[name] for path in files], np.uint64)

        return cls(half, votes, offsets, numbers)

    def __len__(self) -> int:
        return len(self.votes)

    def showing(self, images: NDArray[np.bool_]) -> tuple[Indices, Indices]:
        """Pairs of a row and one of its images, of those that are marked by number."""
        place = np.flatnonzero(self._marked(images))
        return np.searchsorted(self.offsets, place, side="right") - 1, self.numbers[place]

    def any_of(self, images: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether a row shows a marked image."""
        return np.asarray(self._count(self._marked(images)) > 0)

    def readable(self) -> NDArray[np.bool_]:
        """Whether a row has images, all of which can be compared."""
        return np.asarray((np.diff(self.offsets) > 0) & (self._count(self.numbers < 0) == 0))

    def chosen(self, rows: Indices) -> AllRows:
        """Some of the rows, ascending."""
        if len(rows) == len(self):
            return self
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        place = np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        half = self.half if len(rows) else lambda name: np.empty(0, np.uint64)
        return AllRows(lambda name: half(name)[rows], self.votes[rows], offsets, self.numbers[place])

    def _marked(self, images: NDArray[np.bool_]) -> NDArray[np.bool_]:
        marked: NDArray[np.bool_] = np.append(images, False)[self.numbers]  # of -1: the last
        return marked

    def _count(self, marked: NDArray[np.bool_]) -> Indices:
        sums = np.concatenate([[0], np.cumsum(marked)])
        return np.asarray(sums[self.offsets[1:]] - sums[self.offsets[:-1]], np.int64)


def _joined(columns: Sequence[pa.ChunkedArray], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *(column.to_numpy() for column in columns)])


@dataclass(frozen=True)
class Comparable:
    """Comparable rows, in the order of their positions; rows are named by their place here.

    Attributes:
        position: in the set.
        offsets, numbers, pixels: the images of each row: see ``AllRows``, and their sizes.
        stars: the representatives of the images.
        asked: the first row with the same question about the same stars; ``answered``: that has the same answer too;
            ``alike``: about the same images.
        votes: references.
        star_keys: 64 bits of the key of the first star.
        grouped: whether the first star has several images.
        unit: of rows about edited copies (``curate.duplicates.edits.links``), else -1.
        ids: the id, 128 bits.
        key: 64 bits of what is asked about which stars: rows that are compared have the same.
        digests: 128 bits of all that is compared of a row.
    """

    position: Indices
    offsets: Indices
    numbers: Indices
    pixels: Indices
    stars: Indices
    asked: Indices
    answered: Indices
    alike: Indices
    votes: Indices
    star_keys: Hashes
    grouped: NDArray[np.bool_]
    unit: Indices
    ids: Hashes
    key: Hashes
    digests: Hashes

    def __len__(self) -> int:
        return len(self.position)

    def pixels_of_rows(self) -> Indices:
        """The smallest image of each row."""
        return np.minimum.reduceat(self.pixels, self.offsets[:-1]) if len(self) else self.position

    def slots(self, rows: Indices) -> tuple[Indices, Indices]:
        """Places in ``numbers`` of the images of some rows, and where those of each begin among them."""
        counts = np.diff(self.offsets)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return np.repeat(self.offsets[rows] - starts[:-1], counts) + np.arange(starts[-1]), starts[:-1]

    def conflicting(self, dropped: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether a row that is not dropped has the same question with another answer.

        Args:
            dropped: by place.
        """
        answers = np.zeros(len(self), np.int64)  # by their first row: whether a row that stands has it
        answers[self.answered[~dropped]] = 1
        heads = np.flatnonzero(answers)
        standing = np.zeros(len(self), np.int64)  # by the first row of the question: answers that stand
        np.add.at(standing, self.asked[heads], 1)
        return standing[self.asked] > answers[self.answered]


def compared(rows: AllRows, images: Images, hashes: Mapping[str, Hashes], unit: Indices) -> Comparable:
    """Those of all rows that may repeat or contradict another one: their images have copies, or another row asks the
    same about the same images.

    Args:
        hashes: of all rows, as ``curate.duplicates.row_hashes`` makes them.
        unit: of each row, -1 without.
    """
    readable = np.flatnonzero(rows.readable())
    asked = first_equal(hashes["asked_high"][readable], hashes["asked_low"][readable])
    some = rows.chosen(readable)
    wanted = (np.bincount(asked)[asked] > 1) | some.any_of(images.has_copies) | (unit[readable] >= 0)
    # Rows that ask the same are wanted all, or it is one: the first of them keeps its place among the wanted ones.
    asked = (np.cumsum(wanted) - 1)[asked[wanted]]
    position, some = readable[wanted], some.chosen(np.flatnonzero(wanted))
    of = {name: half[position] if len(some) < len(rows) else half for name, half in hashes.items()}
    stars, own = images.stars[some.numbers], unit[position]
    first = stars[some.offsets[:-1]]
    ids = np.stack([some.half("id_high"), some.half("id_low")], axis=1)
    # A row about edited copies is told from the same one about none.
    digests = [np.where(own < 0, of[name], ~of[name]) for name in ("told_high", "told_low")]
    return Comparable(
        position, some.offsets, some.numbers, images.pixels[some.numbers], stars, asked,
        first_equal(of["answered_high"], of["answered_low"]), first_equal(of["alike_high"], of["alike_low"]),
        some.votes.astype(np.int64), images.keys[first], images.has_copies[first], own, ids, of["asked_high"],
        np.stack(digests, axis=1),
    )  # fmt: skip


def write_comparable(path: Path, rows: Comparable) -> None:
    """Write them to a file.

    Raises:
        UserError: it cannot be written.
    """
    write_arrays(path, {field.name: getattr(rows, field.name).reshape(-1) for field in fields(rows)})


def read_comparable(path: Path) -> Comparable:
    """Map the file of ``write_comparable`` into memory."""
    found, _ = read_arrays(path)
    return Comparable(**{**found, "ids": found["ids"].reshape(-1, 2), "digests": found["digests"].reshape(-1, 2)})
