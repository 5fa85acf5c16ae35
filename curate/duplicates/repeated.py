"""Rows that repeat or contradict another one, as a table in parts that stand beside those of the corrected rows."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.comparable import Comparable
from curate.duplicates.images.stored import number_images, starts_of
from curate.duplicates.kept import Repeats
from curate.duplicates.mixing import Indices
from curate.kinds import KINDS
from curate.row_keys import ids_at
from curate.workspace import Workspace
from winnow.files import sha256_bytes
from winnow.parquet.table_parts import PartTask
from winnow.parquet.tables import write_parquet

_VERSION = 1  # raise it when the same numbers make other rows
_PARTS_AT_ONCE = 16  # whose ids are in memory
ROW = "row"  # the number of a row in its part
REPEATED = pa.schema(
    [
        (ROW, pa.int64()),
        ("duplicate_group", pa.string()),
        ("duplicate_of", pa.string()),
        ("edited_copy_of", pa.string()),
        ("conflict_with", pa.string()),
        ("kind", pa.string()),
        ("strength", pa.float64()),
        ("distance", pa.float64()),
        ("hamming", pa.int32()),
    ]
)


def write_repeated(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, rows: Comparable, found: Repeats
) -> None:
    """Bring ``workspace.duplicate_rows`` (schema ``REPEATED``) up to date.

    Args:
        connection: for the table ``numbered``, which it must not have.

    Raises:
        UserError: a file cannot be written.
    """
    corrected, parts = workspace.corrected, workspace.duplicate_rows
    places = np.flatnonzero(found.found)
    positions, columns = rows.position[places], _columns(rows, found, places)
    tasks = []
    for start, count in zip(corrected.starts(), corrected.counts(), strict=True):
        some = slice(*np.searchsorted(positions, (start, start + count)).tolist())
        said = [positions[some] - start, *(column[some] for column in columns)]
        digest = sha256_bytes(b"".join(np.ascontiguousarray(column).tobytes() for column in said))
        tasks.append(PartTask(["repeated", _VERSION, digest], (some, start)))
    by_name = {task.name: task for task in tasks}
    missing = [by_name[name] for name in parts.missing(by_name)]
    if missing:
        number_images(connection, starts_of(workspace.image_parts()))
    for first in range(0, len(missing), _PARTS_AT_ONCE):
        together = missing[first : first + _PARTS_AT_ONCE]
        all_places = np.concatenate([places[task.args[0]] for task in together])
        table, begun = _table(connection, workspace, rows, found, all_places), 0
        for task in together:
            of_part, start = task.args
            row = pa.array(positions[of_part] - start)
            made = table.slice(begun, len(row)).add_column(0, ROW, row).cast(REPEATED)
            write_parquet(parts.folder / task.name, [made], REPEATED)
            begun += len(row)
    parts.finish([task.name for task in tasks])


def _columns(rows: Comparable, found: Repeats, places: Indices) -> list[NDArray[Any]]:
    """All that is said of some rows, whatever the places of the rows and images that they name."""
    known, first = found.at(places), rows.stars[rows.offsets[:-1]]
    keys = np.zeros(max(first.max(initial=-1), known.star.max(initial=-1)) + 2, np.uint64)  # the last: of no star
    keys[first] = rows.star_keys

    def ids(others: Indices) -> NDArray[np.uint64]:
        named = np.zeros((len(others), 2), np.uint64)
        some = np.flatnonzero(others >= 0)
        named[some] = rows.ids[others[some]]
        return named

    others = map(ids, (known.duplicate_of, known.edited_copy_of, known.conflict_with))
    return [keys[known.star], *others, known.kind, known.strength, known.distance, known.hamming]


def _table(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, rows: Comparable, found: Repeats, places: Indices
) -> pa.Table:
    known = found.at(places)
    others = np.concatenate([known.duplicate_of, known.edited_copy_of, known.conflict_with])
    named = np.flatnonzero(others >= 0)
    place = np.full(len(others), -1)
    place[named] = np.arange(len(named))
    ids = ids_at(workspace, rows.position[others[named]]).take(pa.array(place, mask=place < 0))
    count = len(places)
    return pa.table(
        {
            "duplicate_group": _keys(connection, known.star),
            "duplicate_of": ids[:count],
            "edited_copy_of": ids[count : 2 * count],
            "conflict_with": ids[2 * count :],
            "kind": pa.array(KINDS, pa.string()).take(pa.array(known.kind, mask=known.kind < 0)),
            "strength": pa.array(known.strength, mask=np.isnan(known.strength)),
            "distance": pa.array(known.distance, mask=np.isnan(known.distance)),
            "hamming": pa.array(known.hamming, mask=known.hamming < 0),
        }
    )


def _keys(connection: duckdb.DuckDBPyConnection, numbers: Indices) -> pa.Array:
    """The keys of images, null for -1."""
    wanted, place = np.unique(numbers, return_inverse=True)
    connection.register("wanted", pa.table({"number": wanted}))
    query = "SELECT image_key FROM wanted LEFT JOIN numbered USING (number) ORDER BY number"
    keys = connection.sql(query).to_arrow_table()["image_key"].combine_chunks()
    return keys.take(pa.array(place.reshape(-1)))
