"""Which row of a group stays, and which rows contradict each other, once other rules have dropped some.

A row that is dropped for another reason stands for nobody and contradicts nobody: else the best twin could be
dropped as blurred and the rest as its duplicates. The functions run in a connection with the tables ``comparable``
(of ``load_comparable``) and ``dropped`` (position).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.edits.links import link_rows, load_links
from curate.duplicates.images.fingerprints import ImageFingerprints, compare
from curate.duplicates.images.stored import read_stored
from curate.kinds import KINDS, Kind
from curate.settings.copies import DuplicateSettings
from curate.workspace import Workspace
from winnow.tables import literal, parquet, query_batches, write_parquet

DUPLICATE_ROWS = pa.schema(
    [
        ("position", pa.int64()),
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
# The best row of each question, and the best of those that answer it otherwise.
_CONFLICTS = """
    CREATE TABLE conflicts AS
    WITH standing AS (SELECT * FROM comparable WHERE position NOT IN (SELECT position FROM dropped)),
    heads AS (
        SELECT asked, arg_min(answered, place) AS answered, arg_min(id, place) AS id FROM standing GROUP BY asked
    ),
    others AS (
        SELECT s.asked, arg_min(s.id, s.place) AS id
        FROM standing s JOIN heads h ON h.asked = s.asked WHERE s.answered <> h.answered GROUP BY s.asked
    )
    SELECT * FROM (
        SELECT c.position, CASE WHEN c.answered = h.answered THEN o.id ELSE h.id END AS conflict_with,
               true AS conflicting
        FROM comparable c JOIN heads h ON h.asked = c.asked LEFT JOIN others o ON o.asked = c.asked
    ) WHERE conflict_with IS NOT NULL
"""
# rank: rows that are not dropped first, best first. shows_kept: in scope image, whether one of the row's images is
# the kept one of its star: its representative, or if no row about that is left the image of the best row.
_PLACED = """
    CREATE TABLE placed AS
    SELECT c.*, c.place + CASE WHEN d.position IS NULL THEN 0 ELSE 1::BIGINT << 40 END AS rank,
           numbers AS kept, true AS shows_kept
    FROM comparable c LEFT JOIN dropped d ON d.position = c.position
"""
_PLACED_BY_IMAGE = """
    CREATE OR REPLACE TABLE placed AS
    WITH shown AS (
        SELECT position, rank, unnest(stars) AS star, unnest(numbers) AS number,
               generate_subscripts(numbers, 1) AS image_no FROM placed
    ), kept_images AS (
        SELECT star, arg_min(number, rank + CASE WHEN number = star THEN 0 ELSE 1::BIGINT << 39 END) AS kept
        FROM shown GROUP BY star
    )
    SELECT p.* REPLACE (k.kept AS kept, k.shows_kept AS shows_kept)
    FROM placed p JOIN (
        SELECT s.position, list(i.kept ORDER BY s.image_no) AS kept, bool_or(s.number = i.kept) AS shows_kept
        FROM shown s JOIN kept_images i ON i.star = s.star GROUP BY s.position
    ) k ON k.position = p.position
"""
# first: the row to keep of those with the same question and answer, or about the same images; twin: of those with the
# same question and answer about equal images.
_FIRSTS = """
    CREATE TABLE firsts AS
    WITH same AS (
        SELECT answered, arg_min(position, rank + CASE WHEN shows_kept THEN 0 ELSE 1::BIGINT << 41 END) AS first
        FROM placed GROUP BY answered
    ), about AS (SELECT stars, arg_min(position, rank) AS first FROM placed WHERE numbers = kept GROUP BY stars)
    SELECT p.position, CASE WHEN p.shows_kept THEN s.first ELSE coalesce(a.first, s.first) END AS first,
           arg_min(p.id, p.rank) OVER (PARTITION BY p.answered, p.numbers) AS twin
    FROM placed p JOIN same s ON s.answered = p.answered LEFT JOIN about a ON a.stars = p.stars
"""
_FOUND = """
    SELECT p.position, p.star, p.numbers, p.pixels, k.id AS first_id, k.numbers AS first_numbers,
           k.pixels AS first_pixels, nullif(f.twin, p.id) AS twin, c.conflict_with
    FROM placed p
    JOIN firsts f ON f.position = p.position
    LEFT JOIN placed k ON k.position = f.first AND f.first <> p.position
    LEFT JOIN conflicts c ON c.position = p.position
    WHERE k.position IS NOT NULL OR c.position IS NOT NULL OR p.grouped
    ORDER BY p.position
"""


def load_comparable(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Create the tables ``comparable`` and ``links``, as ``curate.duplicates.rows.find_duplicates`` has left them."""
    connection.execute(f"CREATE TABLE comparable AS SELECT * FROM {parquet([workspace.comparable_rows])}")
    load_links(connection, workspace)


def find_conflicts(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table ``conflicts``: position, and the id of the best row left that answers the question otherwise."""
    connection.execute(_CONFLICTS)


def choose_kept(connection: duckdb.DuckDBPyConnection, workspace: Workspace, settings: DuplicateSettings) -> None:
    """Write ``workspace.duplicate_rows``: rows that repeat or contradict another one, or whose image has copies.

    Raises:
        UserError: the file cannot be written.
    """
    connection.execute(_PLACED)
    if settings.scope == "image":
        connection.execute(_PLACED_BY_IMAGE)
    connection.execute(_FIRSTS)
    connection.register("confirmed_type", DUPLICATE_ROWS.empty_table())
    connection.execute("CREATE TABLE confirmed AS SELECT * FROM confirmed_type")
    other = connection.cursor()  # the first one streams the rows that are compared
    for batch in _confirmed(connection, workspace, settings):
        other.register("batch", batch)
        other.execute("INSERT INTO confirmed SELECT * FROM batch")
        other.unregister("batch")
    link_rows(connection, settings)
    kinds = ", ".join(map(literal, KINDS))
    write_parquet(workspace.duplicate_rows, query_batches(connection, _REPEATED.format(kinds=kinds)), DUPLICATE_ROWS)


def _confirmed(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, settings: DuplicateSettings
) -> Iterator[pa.RecordBatch]:
    fingerprints = read_stored(workspace).fingerprints
    for batch in query_batches(connection, _FOUND):
        yield _confirmed_rows(batch, fingerprints, settings)


def _confirmed_rows(
    batch: pa.RecordBatch, fingerprints: ImageFingerprints, settings: DuplicateSettings
) -> pa.RecordBatch:
    """Compare each duplicate row with the row kept in its place, image by image.

    Both were confirmed against the representative, which may be a third image: a row whose images differ too
    much from the kept row's is not a duplicate.
    """
    rows = batch.to_pylist()
    pairs = [
        (number, i, j)
        for number, row in enumerate(rows)
        if row["first_id"] is not None
        for i, j in zip(row["numbers"], row["first_numbers"], strict=True)
    ]
    number, i, j = np.array(pairs, np.int64).reshape(-1, 3).T
    difference = compare(fingerprints, i, fingerprints, j, settings)
    mean, hamming = _worst(difference.mean, number, len(rows)), _worst(difference.bits.astype(float), number, len(rows))
    same = _worst((~difference.similar).astype(float), number, len(rows)) == 0
    made: list[dict[str, Any]] = []
    for k, row in enumerate(rows):
        found = {
            "position": row["position"], "duplicate_group": row["star"], "conflict_with": row["conflict_with"]
        }  # fmt: skip
        if row["first_id"] is not None and same[k]:
            kind = _kind(row)
            action = settings.kinds[kind]
            if action != "drop" and row["twin"] is not None and settings.kinds["exact"] == "drop":
                found |= {"duplicate_of": row["twin"], "kind": "exact", "strength": 1.0, "distance": 0.0, "hamming": 0}
            elif action != "ignore":
                found["duplicate_of" if action == "drop" else "edited_copy_of"] = row["first_id"]
                found |= {"kind": kind, "strength": 1 - mean[k] / 255, "distance": mean[k], "hamming": int(hamming[k])}
        made.append(found)
    return pa.RecordBatch.from_pylist(made, DUPLICATE_ROWS)


def _kind(row: dict[str, Any]) -> Kind:
    """How the images of a row are copies of the kept row's."""
    if row["numbers"] == row["first_numbers"]:
        return "exact"
    return "re-encoded" if row["pixels"] == row["first_pixels"] else "resized"


def _worst(values: NDArray[np.float64], row: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    worst = np.zeros(count)
    np.maximum.at(worst, row, values)
    return worst


# Of several copies the strict one that drops counts, then the edited one that drops, then the strict one that flags.
_REPEATED = """
    SELECT position, CASE WHEN edited THEN l.star ELSE coalesce(c.duplicate_group, l.star) END AS duplicate_group,
           coalesce(c.duplicate_of, l.duplicate_of) AS duplicate_of,
           CASE WHEN coalesce(c.duplicate_of, l.duplicate_of) IS NULL
                THEN coalesce(c.edited_copy_of, l.edited_copy_of) END AS edited_copy_of,
           c.conflict_with,
           CASE WHEN edited OR c.kind IS NULL THEN ([{kinds}])[l.kind + 1] ELSE c.kind END AS kind,
           CASE WHEN edited OR c.kind IS NULL THEN l.strength ELSE c.strength END AS strength,
           c.distance, c.hamming
    FROM (
        SELECT position, c, l, c.duplicate_of IS NULL AND l.duplicate_of IS NOT NULL AS edited
        FROM confirmed c FULL JOIN (
            SELECT position, max(duplicate_of) AS duplicate_of, max(edited_copy_of) AS edited_copy_of,
                   max(kind) AS kind, max(strength) AS strength, max(star) AS star
            FROM linked GROUP BY position
        ) l USING (position)
    )
    ORDER BY position
"""
