"""The rows of a queue as positions in tables, in the queue's order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch_table

Parameters = Mapping[str, Sequence[str]]
_TABLES = {"evals": ("predictions.parquet", "file_row_number"), "curated": ("samples.parquet", "position")}


@dataclass(frozen=True, eq=False)
class Entries:
    """The rows of a queue, in its order. Compared by identity, so that what follows from one can be cached.

    Attributes:
        title: what the list is, for people: ``Wrong answers of tuned``.
        folders: where the rows are: evaluations and curated sets.
        folder_of: (n,) index into ``folders``.
        row_of: (n,) the row: its number in ``predictions.parquet``, or its ``position`` in ``samples.parquet``.
        problem: why the list is empty, as a sentence, where that is not plain.
    """

    title: str
    folders: tuple[Folder, ...]
    folder_of: NDArray[np.int16]
    row_of: NDArray[np.int32]
    problem: str = ""

    def __len__(self) -> int:
        return len(self.row_of)

    def place_of(self, folder: Folder, row: int) -> int | None:
        """Where a row stands in the queue; None if it does not."""
        if folder not in self.folders:
            return None
        found = np.flatnonzero((self.row_of == row) & (self.folder_of == self.folders.index(folder)))
        return int(found[0]) if len(found) else None

    def take(self, places: NDArray[np.integer] | NDArray[np.bool_]) -> Entries:
        """The rows at these places (or where a mask (n,) is true), in this order."""
        return Entries(self.title, self.folders, self.folder_of[places], self.row_of[places], self.problem)


def entries_in(title: str, folder: Folder, rows: NDArray[np.integer], problem: str = "") -> Entries:
    """A queue whose rows all lie in one folder."""
    return Entries(title, (folder,), np.zeros(len(rows), dtype=np.int16), rows.astype(np.int32), problem)


def nothing(title: str, problem: str) -> Entries:
    """An empty queue, and why it is empty."""
    return Entries(title, (), np.empty(0, dtype=np.int16), np.empty(0, dtype=np.int32), problem)


def last(parameters: Parameters, name: str) -> str:
    """The last value of a parameter, '' without one."""
    values = parameters.get(name, ())
    return values[-1] if values else ""


def number(parameters: Parameters, name: str, default: int) -> int:
    """A parameter as a whole number from 1 to a million, ``default`` where it is none."""
    text = last(parameters, name)
    return min(max(int(text[:20]), 1), 1_000_000) if text.isascii() and text.isdigit() else default


def moment(parameters: Parameters) -> datetime | None:
    """The moment ``as_of`` at which a list was read; None for now."""
    try:
        found = datetime.fromisoformat(last(parameters, "as_of"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def entries_of_ids(title: str, ids: Sequence[tuple[str, str]], folders: Sequence[Folder]) -> Entries:
    """One row for each id that a folder has, in the order of ``ids``.

    Args:
        ids: each with the name of the folder in which to look first.
        folders: in which to look afterwards, in this order.

    Raises:
        UserError: a table is broken.
    """
    place: dict[str, tuple[int, int]] = {}
    for number, folder in enumerate(folders):
        named = [sample_id for sample_id, name in ids if name == folder.name]
        place |= {key: (number, rows[0]) for key, rows in places_of_ids(folder, named).items() if key not in place}
    for number, folder in enumerate(folders):
        if left := [sample_id for sample_id, _ in ids if sample_id not in place]:
            place |= {key: (number, rows[0]) for key, rows in places_of_ids(folder, left).items()}
    found = [place[sample_id] for sample_id, _ in ids if sample_id in place]
    return Entries(
        title,
        tuple(folders),
        np.array([number for number, _ in found], dtype=np.int16),
        np.array([row for _, row in found], dtype=np.int32),
    )


def rows_of_ids(folder: Folder, ids: Sequence[str]) -> NDArray[np.int32]:
    """Rows with these ids, in the order of ``ids``: several for an id with several tasks, none for an unknown one."""
    rows = places_of_ids(folder, tuple(dict.fromkeys(ids)))
    return np.array([row for key in ids for row in rows.get(key, ())], dtype=np.int32)


def places_of_ids(folder: Folder, ids: Sequence[str]) -> Mapping[str, list[int]]:
    """Id → its rows, ascending; ids without a row are left out. Raises UserError for a broken table."""
    file, number = _TABLES[folder.kind]
    numbered = ", file_row_number = true" if number == "file_row_number" else ""
    sql = f"SELECT sample_id, {number} AS row FROM read_parquet(?{numbered}) WHERE sample_id IN (SELECT unnest(?))"
    found = fetch_table(folder.connection, sql, [folder.file(file), list(ids)])
    rows: dict[str, list[int]] = {}
    for sample_id, row in sorted(zip(found["sample_id"].to_pylist(), found["row"].to_pylist(), strict=True)):
        rows.setdefault(sample_id, []).append(row)
    return rows


def ids_of(found: Entries, places: NDArray[np.integer]) -> list[str]:
    """The ids of the rows at these places; raises UserError for a broken table."""
    ids = np.empty(len(places), dtype=object)
    for number, folder in enumerate(found.folders):
        here = np.flatnonzero(found.folder_of[places] == number)
        if not len(here):
            continue
        file, column = _TABLES[folder.kind]
        numbered = ", file_row_number = true" if column == "file_row_number" else ""
        sql = f"SELECT sample_id, {column} AS row FROM read_parquet(?{numbered}) WHERE {column} IN (SELECT unnest(?))"
        rows = found.row_of[places[here]]
        table = fetch_table(folder.connection, sql, [folder.file(file), rows.tolist()])
        by_row = dict(zip(table["row"].to_pylist(), table["sample_id"].to_pylist(), strict=True))
        ids[here] = [by_row.get(int(row), "") for row in rows]
    return list(ids)


@cached(32)
def snapshot_of(found: Entries) -> str:
    """16 hexadecimal digits that change whenever a file behind the queue does, or its rows."""
    digest = hashlib.sha256("\n".join(folder.fingerprint for folder in found.folders).encode())
    digest.update(found.folder_of.tobytes())
    digest.update(found.row_of.tobytes())
    return digest.hexdigest()[:16]


@cached(32)
def content_digest(found: Entries) -> str:
    """16 hexadecimal digits of which rows the queue holds, in which order: their folders and ids.

    The same after the folders were remade with the same rows. Raises UserError for a broken table.
    """
    digest = hashlib.sha256()
    for number, folder in enumerate(found.folders):
        here = np.flatnonzero(found.folder_of == number)
        digest.update(f"{folder.kind}/{folder.name}\n".encode())
        digest.update(here.astype("<i8").tobytes())
        rows = found.row_of[here]
        known, numbers = _id_numbers(folder)
        places = np.searchsorted(known, rows) if known is not None else rows
        inside = np.minimum(places, len(numbers) - 1)
        digest.update(numbers[inside].astype("<u8").tobytes() if len(numbers) else b"")
    return digest.hexdigest()[:16]


@cached(4)
def _id_numbers(folder: Folder) -> tuple[NDArray[np.int64] | None, NDArray[np.uint64]]:
    """A number of 64 bits for each row's id, the same for ever, and the rows, ascending; None for 0, 1, 2, …"""
    file, number = _TABLES[folder.kind]
    numbered = ", file_row_number = true" if number == "file_row_number" else ""
    sql = f"SELECT md5_number_lower(sample_id) AS id, {number}::BIGINT AS row FROM read_parquet(?{numbered})"
    table = fetch_table(folder.connection, sql, [folder.file(file)])
    rows, numbers = table["row"].to_numpy(), table["id"].to_numpy()
    if not (rows[1:] > rows[:-1]).all():
        order = np.argsort(rows, kind="stable")
        rows, numbers = rows[order], numbers[order]
    is_dense = len(rows) == 0 or (rows[0] == 0 and rows[-1] == len(rows) - 1)
    return (None if is_dense else rows), numbers


@cached(32)
def _rows_decided(folder: Folder, ids: frozenset[str]) -> NDArray[np.int32]:
    return np.sort(rows_of_ids(folder, sorted(ids)))


def undecided(found: Entries, decided: frozenset[str]) -> NDArray[np.bool_]:
    """(n,) which rows of a queue have none of the ids ``decided``."""
    left = np.ones(len(found), dtype=bool)
    for number, folder in enumerate(found.folders):
        if decided:
            left &= ~((found.folder_of == number) & np.isin(found.row_of, _rows_decided(folder, decided)))
    return left
