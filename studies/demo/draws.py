"""Which rows a training sees, and in which order: as alike in all arms of a seed as their sets allow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from winnow.errors import UserError
from winnow.rows.records import Sample


def rank(sample_id: str, seed: int) -> bytes:
    """The same for a row in every set; ranks of different rows or seeds are as good as random."""
    return hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()


def drawn(rows: Iterable[Sample], count: int, seed: int) -> list[Sample]:
    """The ``count`` rows of lowest rank, in this order: a random sample without repetition.

    Raises:
        UserError: there are fewer rows.
    """
    ordered = sorted(rows, key=lambda row: rank(row.id, seed))
    if len(ordered) < count:
        raise UserError(f"a training needs {count} rows, but a set has {len(ordered)}; give it fewer steps")
    return ordered[:count]


def aligned(rows: Sequence[Sample], like: Sequence[Sample]) -> list[Sample]:
    """``rows``, those that ``like`` has too in the same places, the others in the places that are left.

    Both have the same length. A row is the same if its id is: it may have another answer or picture.
    """
    places = {row.id: place for place, row in enumerate(like)}
    ordered: dict[int, Sample] = {places[row.id]: row for row in rows if row.id in places}
    others = iter(row for row in rows if row.id not in places)
    return [ordered[place] if place in ordered else next(others) for place in range(len(rows))]
