"""The rows of a queue for the review panel, many at once, and single rows that are in none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dashboards.data.catalog import Catalog, Folder
from dashboards.review.entries import Entries, rows_of_ids
from dashboards.review.evaluated import evaluated_rows
from dashboards.review.row import Reader, ReviewRow
from dashboards.review.trained import training_rows

# Places whose rows are read together, from a multiple of it on: rows that lie anywhere in a table cost about as much
# to read if there are eight times as many, and a reviewer goes on to the next ones.
_TOGETHER = 192


def rows_at(catalog: Catalog, found: Entries, places: Sequence[int], reader: Reader) -> list[ReviewRow]:
    """The rows at these places of a queue, in this order; places outside it are left out.

    Raises UserError for a broken table.
    """
    inside = [place for place in places if 0 <= place < len(found)]
    rows: dict[int, ReviewRow] = {}
    for start in dict.fromkeys(place - place % _TOGETHER for place in inside):
        block = range(start, min(start + _TOGETHER, len(found)))
        folder_of, row_of = found.folder_of[block.start : block.stop], found.row_of[block.start : block.stop]
        for number, folder in enumerate(found.folders):
            wanted = {place: int(found.row_of[place]) for place in inside
                      if place in block and found.folder_of[place] == number}  # fmt: skip
            read = _rows_in(catalog, folder, list(wanted.values()), reader, row_of[folder_of == number].tolist())
            rows |= {place: replace(read[row], place=place) for place, row in wanted.items() if row in read}
    return [rows[place] for place in inside if place in rows]


def row_of_id(catalog: Catalog, sample_id: str, name: str, reader: Reader) -> ReviewRow | None:
    """A row that is in no queue, by its id; None if no folder has it.

    Args:
        name: of the evaluation or curated set to look in first. Where that is '' or has no such row, it is the newest
            evaluation that has it, else the newest curated set.
    """
    folders = [*catalog.finished("evals"), *catalog.finished("curated")]
    for folder in sorted(folders, key=lambda folder: folder.name != name):
        for row in rows_of_ids(folder, [sample_id])[:1].tolist():
            return _rows_in(catalog, folder, [row], reader).get(row)
    return None


def _rows_in(
    catalog: Catalog, folder: Folder, rows: Sequence[int], reader: Reader, around: Sequence[int] = ()
) -> dict[int, ReviewRow]:
    if not rows:
        return {}
    read = evaluated_rows if folder.kind == "evals" else training_rows
    return read(catalog, folder, rows, reader, around)
