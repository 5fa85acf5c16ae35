"""Near-identical images, and rows that repeat or contradict each other about them.

Many questions about one image are legitimate. A row is a duplicate only when a row about the same
or a near-identical image has the same question and the same answer; rows that differ in the answer
alone are conflicting. Text-only rows and rows with an unreadable image are left out.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.edits.links import find_links
from curate.duplicates.edits.stored_edits import EditedCopies
from curate.duplicates.images.block_pairs import search_stored
from curate.duplicates.images.clusters import build_star_clusters
from curate.duplicates.images.matching import DuplicateIndex
from curate.duplicates.images.stored import number_images, read_stored
from curate.kinds import EDITS
from curate.settings.copies import DuplicateSettings, sought
from curate.views import create_views
from curate.workspace import Workspace
from winnow.table_parts import Runner, run_here
from winnow.tables import database, query_batches, write_parquet

DUPLICATE_IMAGES = pa.schema(
    [
        ("image_key", pa.string()),
        ("representative_key", pa.string()),
        ("distance", pa.float64()),
        ("cell_distance", pa.float64()),
        ("hamming", pa.int32()),
    ]
)
COMPARABLE_ROWS = pa.schema(
    [
        ("position", pa.int64()),
        ("id", pa.string()),
        ("numbers", pa.list_(pa.int64())),
        ("pixels", pa.list_(pa.int64())),
        ("stars", pa.list_(pa.int64())),
        ("star", pa.string()),
        ("grouped", pa.bool_()),
        ("asked", pa.int64()),
        ("answered", pa.int64()),
        ("unit", pa.int64()),
        ("place", pa.int64()),
    ]
)
_ORDER = {"pixels": "pixels DESC", "votes": "votes DESC", "id": "id"}
# Every readable image of every row.
_IMAGES_OF_ROWS = """
    CREATE TABLE shown AS
    SELECT r.position, r.image_no, r.images, r.said, n.number, n.pixels
    FROM (
        SELECT position, len(image_keys) AS images, unnest(image_keys) AS image_key,
               generate_subscripts(image_keys, 1) AS image_no,
               hash(concat_ws(chr(31), question_key, context_key)) AS said
        FROM rows
    ) r JOIN numbered n ON n.image_key = r.image_key
"""
# The images that may have copies, in keep-best order.
_RANKED = """
    SELECT n.number
    FROM (
        SELECT s.number, max(len(r.answers)) AS votes, min(r.sample_id) AS id
        FROM shown s JOIN candidates c ON c.number = s.number JOIN rows r ON r.position = s.position GROUP BY s.number
    ) u JOIN numbered n ON n.number = u.number
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
# Rows that may repeat or contradict another one: most are alone with their stars and question, of which a short hash is
# enough to tell.
_WANTED = """
    CREATE TABLE wanted AS
    WITH starred AS (
        SELECT s.*, coalesce(m.representative, s.number) AS star,
               m.member IS NOT NULL OR s.number IN (SELECT representative FROM members)
               OR s.number IN (SELECT number FROM edited_images) AS has_copies
        FROM shown s LEFT JOIN members m ON m.member = s.number
    ), asking AS MATERIALIZED (
        SELECT position, hash(star, said) AS said, has_copies FROM starred WHERE images = 1
        UNION ALL
        SELECT position, hash(list(star ORDER BY image_no), any_value(said)), bool_or(has_copies)
        FROM starred WHERE images > 1 GROUP BY position
    )
    SELECT position FROM asking
    WHERE has_copies OR said IN (SELECT said FROM asking GROUP BY said HAVING count(*) > 1)
"""
# Those of them all of whose images are readable: their images, the stars of these, what is asked and answered.
_ROWS = """
    CREATE TABLE comparable AS
    WITH starred AS (
        SELECT s.*, coalesce(m.representative, s.number) AS star,
               m.member IS NOT NULL OR s.number IN (SELECT representative FROM members) AS has_copies
        FROM shown s SEMI JOIN wanted USING (position) LEFT JOIN members m ON m.member = s.number
    )
    SELECT r.position, r.sample_id AS id, len(r.answers) AS votes, list_min(p.sizes) AS pixels, p.sizes, p.numbers,
           p.stars, p.has_copies,
           md5_number(concat_ws(chr(31), p.stars::VARCHAR, r.question_key, r.context_key)) AS asked,
           md5_number(coalesce(r.answer_key, '')) AS answer
    FROM (
        SELECT position, [number] AS numbers, [star] AS stars, [pixels] AS sizes, has_copies
        FROM starred WHERE images = 1
        UNION ALL
        SELECT position, list(number ORDER BY image_no), list(star ORDER BY image_no), list(pixels ORDER BY image_no),
               bool_or(has_copies)
        FROM starred WHERE images > 1 GROUP BY position HAVING count(*) = any_value(images)
    ) p JOIN rows r ON r.position = p.position
"""
# Those of them that may repeat or contradict another one. Numbers stand for what is asked, and for question and answer.
_COMPARABLE = """
    SELECT c.position, c.id, c.numbers, c.sizes AS pixels, c.stars, n.star, m.representative IS NOT NULL AS grouped,
           a.first AS asked, b.first AS answered, u.unit, row_number() OVER (ORDER BY {order}, c.id) AS place
    FROM comparable c
    JOIN (SELECT asked, min(position) AS first, count(*) AS rows FROM comparable GROUP BY asked) a ON a.asked = c.asked
    JOIN (SELECT asked, answer, min(position) AS first FROM comparable GROUP BY ALL) b
        ON b.asked = c.asked AND b.answer = c.answer
    JOIN (SELECT number, image_key AS star FROM numbered) n ON n.number = c.stars[1]
    LEFT JOIN (SELECT DISTINCT representative FROM members) m ON m.representative = c.stars[1]
    LEFT JOIN unit_rows u ON u.position = c.position
    WHERE c.has_copies OR a.rows > 1 OR u.unit IS NOT NULL
    ORDER BY c.position
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
    order = ", ".join(_ORDER[key] for key in settings.keep) or "id"
    stored = read_stored(workspace)
    copies = EditedCopies(workspace, set(sought(settings.kinds)) & set(EDITS))
    edits = copies.among()
    with database(workspace.work) as connection:
        create_views(connection, workspace)
        number_images(connection, stored.starts)
        connection.execute(_IMAGES_OF_ROWS)
        index = DuplicateIndex(stored.fingerprints, settings, search_stored(stored, settings, runner))
        _group_images(connection, index, order)
        write_parquet(workspace.duplicate_images, query_batches(connection, _IMAGES), DUPLICATE_IMAGES)
        connection.register("edited_images", pa.table({"number": np.concatenate([edits.i, edits.j])}))
        connection.execute(_WANTED)
        connection.execute(_ROWS)
        find_links(connection, workspace, stored.fingerprints, edits, settings, order)
        rows = query_batches(connection, _COMPARABLE.format(order=order))
        write_parquet(workspace.comparable_rows, rows, COMPARABLE_ROWS)
    return copies.limited


def _group_images(connection: duckdb.DuckDBPyConnection, index: DuplicateIndex, order: str) -> None:
    """Tables ``ranked`` (number, place: images that may have copies) and ``members`` (those of another one's star)."""
    connection.register("candidates", pa.table({"number": index.with_candidates()}))
    best_first = connection.sql(_RANKED.format(order=order)).to_arrow_table().column("number").to_numpy()
    stars = build_star_clusters(index, best_first)
    connection.register("ranked", pa.table({"number": best_first, "place": np.arange(len(best_first))}))
    columns = {"member": stars.member, "representative": stars.representative, "hamming": stars.bits}
    distances = {"distance": stars.mean, "cell_distance": stars.cell}
    connection.register("members", pa.table({**columns, **distances}))
