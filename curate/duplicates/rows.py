"""Near-identical images, and rows that repeat or contradict each other about them.

Many questions about one image are legitimate. A row is a duplicate only when a row about the same
or a near-identical image has the same question and the same answer; rows that differ in the answer
alone are conflicting. Text-only rows and rows with an unreadable image are left out.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.comparable import AllRows, Images, compared, write_comparable
from curate.duplicates.edits.links import find_links, without_strict
from curate.duplicates.edits.stored_edits import EditedCopies
from curate.duplicates.images.block_pairs import search_stored
from curate.duplicates.images.clusters import build_star_clusters
from curate.duplicates.images.fingerprints import ImageFingerprints
from curate.duplicates.images.matching import DuplicateIndex
from curate.duplicates.images.stored import number_images, read_stored
from curate.duplicates.kept import keep_order
from curate.duplicates.mixing import mixed_columns
from curate.duplicates.row_hashes import row_hashes
from curate.kinds import EDITS, KindPairs
from curate.row_keys import ids_at, short_key, write_row_keys
from curate.settings.copies import DuplicateSettings, sought
from curate.workspace import Workspace
from winnow.parquet.table_parts import Runner, run_here
from winnow.parquet.tables import database, query_batches, write_parquet

VERSION = 2  # raise it when the same rows and images give other files
DUPLICATE_IMAGES = pa.schema(
    [
        ("image_key", pa.string()),
        ("representative_key", pa.string()),
        ("distance", pa.float64()),
        ("cell_distance", pa.float64()),
        ("hamming", pa.int32()),
    ]
)
# The images that may have copies, in keep-best order.
_RANKED = """
    SELECT n.number
    FROM (SELECT number, max(votes) AS votes, min(id) AS id FROM showing GROUP BY number) u
    JOIN numbered n ON n.number = u.number
    ORDER BY {order}, n.image_key
"""
_IMAGES = """
    SELECT n.image_key, k.image_key AS representative_key, m.distance, m.cell_distance, m.hamming
    FROM (
        SELECT member, representative, distance, cell_distance, hamming FROM members
        UNION ALL SELECT DISTINCT representative, representative, 0.0, 0.0, 0 FROM members
    ) m
    JOIN numbered n ON n.number = m.member JOIN numbered k ON k.number = m.representative
    JOIN ranked a ON a.number = m.representative JOIN ranked b ON b.number = m.member
    ORDER BY a.place, b.place
"""


def find_duplicates(workspace: Workspace, settings: DuplicateSettings, runner: Runner = run_here) -> int:
    """Write ``workspace.duplicate_images`` (images of a star), ``workspace.comparable_rows`` and ``edited_links``.

    Comparable rows are those that may repeat or contradict another one, links lead from those about an edited copy to
    those about what it copies; which of them stays is chosen when other rules have been judged, in
    ``curate.duplicates.kept``.

    Args:
        runner: makes what the search for pairs does not know yet.

    Returns:
        How many images were not laid over all those that seemed to be edited copies.

    Raises:
        UserError: a file cannot be written.
    """
    order = keep_order(settings)
    stored = read_stored(workspace)
    copies = EditedCopies(workspace, set(sought(settings.kinds)) & set(EDITS))
    edits = without_strict(copies.among(), stored.fingerprints, settings)
    with database(workspace.work) as connection:
        write_row_keys(connection, workspace)
        number_images(connection, stored.starts)
        images = _images(connection, stored.fingerprints)
        rows = AllRows.read(workspace.row_keys.files(), images.keys)
        index = DuplicateIndex(stored.fingerprints, settings, search_stored(stored, settings, runner))
        _group_images(connection, workspace, rows, index, order)
        write_parquet(workspace.duplicate_images, query_batches(connection, _IMAGES), DUPLICATE_IMAGES)
        images = _starred(connection, images)
        touched = _touched(workspace, rows, images, edits)
        find_links(connection, workspace, stored.fingerprints, edits, touched, settings, order)
        units = connection.sql("SELECT position, unit FROM unit_rows").to_arrow_table()
    unit = np.full(len(rows), -1)
    unit[units["position"].to_numpy()] = units["unit"].to_numpy()
    write_comparable(workspace.comparable_rows, compared(rows, images, row_hashes(workspace, rows, images), unit))
    return copies.limited


def _images(connection: duckdb.DuckDBPyConnection, fingerprints: ImageFingerprints) -> Images:
    """The images of the table ``numbered``, each alone in its star."""
    query = f"SELECT number, {short_key('image_key')} AS key, pixels FROM numbered"
    found = connection.sql(query).to_arrow_table()
    count, number = len(fingerprints), found["number"].to_numpy()
    keys, pixels = np.zeros(count, np.uint64), np.zeros(count, np.int64)
    keys[number], pixels[number] = found["key"].to_numpy(), found["pixels"].to_numpy()
    looks = [fingerprints.colors[:, channel] for channel in range(fingerprints.colors.shape[1])]
    looks += [fingerprints.sides, fingerprints.contrast]
    bits = [np.ascontiguousarray(column).view(np.uint32).astype(np.uint64) for column in looks]
    digests = mixed_columns([fingerprints.phash, fingerprints.dhash, *bits])
    return Images(keys, pixels, digests, np.arange(count), np.zeros(count, bool))


def _starred(connection: duckdb.DuckDBPyConnection, images: Images) -> Images:
    """The images in the stars of the table ``members``."""
    found = connection.sql("SELECT member, representative FROM members").to_arrow_table()
    member, representative = found["member"].to_numpy(), found["representative"].to_numpy()
    stars, has_copies = images.stars.copy(), images.has_copies.copy()
    stars[member] = representative
    has_copies[member] = has_copies[representative] = True
    return replace(images, stars=stars, has_copies=has_copies)


def _group_images(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, rows: AllRows, index: DuplicateIndex, order: str
) -> None:
    """Tables ``ranked`` (number, place: images that may have copies) and ``members`` (those of another one's star)."""
    candidates = np.zeros(len(index.fingerprints), bool)
    candidates[index.with_candidates()] = True
    row, number = rows.showing(candidates)
    showing = {"number": pa.array(number), "votes": pa.array(rows.votes[row]), "id": ids_at(workspace, row)}
    connection.register("showing", pa.table(showing))
    best_first = connection.sql(_RANKED.format(order=order)).to_arrow_table().column("number").to_numpy()
    stars = build_star_clusters(index, best_first)
    connection.register("ranked", pa.table({"number": best_first, "place": np.arange(len(best_first))}))
    columns = {"member": stars.member, "representative": stars.representative, "hamming": stars.bits}
    distances = {"distance": stars.mean, "cell_distance": stars.cell}
    connection.register("members", pa.table({**columns, **distances}))


def _touched(workspace: Workspace, rows: AllRows, images: Images, edits: KindPairs) -> pa.Table:
    """The rows about an image that is an edited copy or has one, all of whose images can be compared."""
    edited = np.zeros(len(images.keys), bool)
    edited[edits.i] = edited[edits.j] = True
    position = np.flatnonzero(rows.readable() & rows.any_of(edited))
    some = rows.chosen(position)
    said = mixed_columns([some.half(name) for name in ("said_high", "said_low", "answer_high", "answer_low")])
    numbers = pa.LargeListArray.from_arrays(some.offsets, some.numbers)
    sizes = images.pixels[some.numbers]
    pixels = np.minimum.reduceat(sizes, some.offsets[:-1]) if len(position) else sizes
    return pa.table(
        {
            "position": position, "numbers": numbers, "said": said, "pixels": pixels, "votes": some.votes,
            "id": ids_at(workspace, position),
        }
    )  # fmt: skip
