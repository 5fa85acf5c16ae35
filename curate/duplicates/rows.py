"""Near-identical images, and rows that repeat or contradict each other about them.

Many questions about one image are legitimate. A row is a duplicate only when a row about the same
or a near-identical image has the same question and the same answer; rows that differ in the answer
alone are conflicting. Text-only rows and rows with an unreadable image are left out.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.clusters import build_star_clusters
from curate.duplicates.fingerprints import ImageFingerprints, compare
from curate.duplicates.matching import DuplicateIndex
from curate.duplicates.stored import number_images, read_stored
from curate.recipe import DuplicateSettings
from curate.views import create_views
from curate.workspace import Workspace
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
DUPLICATE_ROWS = pa.schema(
    [
        ("position", pa.int64()),
        ("duplicate_group", pa.string()),
        ("duplicate_of", pa.string()),
        ("conflict_with", pa.string()),
        ("distance", pa.float64()),
        ("hamming", pa.int32()),
    ]
)
_ORDER = {"pixels": "pixels DESC", "votes": "votes DESC", "id": "id"}
# Every readable image of every row.
_IMAGES_OF_ROWS = """
    CREATE TABLE shown AS
    SELECT r.position, r.image_no, r.images, n.number, n.pixels
    FROM (
        SELECT position, len(image_keys) AS images, unnest(image_keys) AS image_key,
               generate_subscripts(image_keys, 1) AS image_no
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
# Rows all of whose images are readable: their images, the stars of these, what is asked about them and answered.
_ROWS = """
    CREATE TABLE comparable AS
    WITH starred AS (
        SELECT s.*, coalesce(m.representative, s.number) AS star FROM shown s LEFT JOIN members m ON m.member = s.number
    )
    SELECT r.position, r.sample_id AS id, len(r.answers) AS votes, p.pixels, p.numbers, p.stars,
           md5_number(concat(p.stars::VARCHAR, r.question_key)) AS asked,
           md5_number(coalesce(r.answer_key, '')) AS answer
    FROM (
        SELECT position, [number] AS numbers, [star] AS stars, pixels FROM starred WHERE images = 1
        UNION ALL
        SELECT position, list(number ORDER BY image_no), list(star ORDER BY image_no), min(pixels)
        FROM starred WHERE images > 1 GROUP BY position HAVING count(*) = any_value(images)
    ) p JOIN rows r ON r.position = p.position
"""
# first: the row to keep of those with the same question and answer; rival: the best row with another answer.
_RELATED = """
    CREATE TABLE related AS
    WITH ordered AS (
        SELECT position, numbers, stars, asked, answer, row_number() OVER best AS place,
               first_value(position) OVER best AS head, first_value(answer) OVER best AS head_answer
        FROM comparable WINDOW best AS (PARTITION BY asked ORDER BY {order}, id)
    )
    SELECT p.position, p.numbers, p.stars, f.first,
           CASE WHEN p.answer = p.head_answer THEN o.other ELSE p.head END AS rival
    FROM ordered p
    JOIN (SELECT asked, answer, arg_min(position, place) AS first FROM ordered GROUP BY ALL) f
        ON f.asked = p.asked AND f.answer = p.answer
    LEFT JOIN (
        SELECT asked, arg_min(position, place) AS other FROM ordered WHERE answer <> head_answer GROUP BY asked
    ) o ON o.asked = p.asked
"""
# Scope image: a row is a duplicate when none of its images is the representative of its star.
_RELATED_BY_IMAGE = """
    CREATE OR REPLACE TABLE related AS
    SELECT t.position, t.numbers, t.stars, t.rival,
           CASE WHEN list_has_any(t.numbers, t.stars) THEN t.first ELSE coalesce(k.position, t.first) END AS first
    FROM related t LEFT JOIN (
        SELECT stars, position FROM comparable WHERE numbers = stars
        QUALIFY row_number() OVER (PARTITION BY stars ORDER BY {order}, id) = 1
    ) k ON k.stars = t.stars
"""
_FOUND = """
    SELECT t.position, g.image_key AS star, t.numbers, k.id AS first_id, k.numbers AS first_numbers, c.id AS rival_id
    FROM related t
    JOIN numbered g ON g.number = t.stars[1]
    LEFT JOIN comparable k ON k.position = t.first AND t.first <> t.position
    LEFT JOIN comparable c ON c.position = t.rival
    WHERE k.position IS NOT NULL OR c.position IS NOT NULL OR t.stars[1] IN (SELECT representative FROM members)
    ORDER BY t.position
"""


def find_duplicates(workspace: Workspace, settings: DuplicateSettings) -> None:
    """Write ``workspace.duplicate_images`` (images that belong to a star) and ``workspace.duplicate_rows``.

    Raises:
        UserError: a file cannot be written.
    """
    order = ", ".join(_ORDER[key] for key in settings.keep) or "id"
    stored = read_stored(workspace)
    with database(workspace.work) as connection:
        create_views(connection, workspace)
        number_images(connection, stored)
        connection.execute(_IMAGES_OF_ROWS)
        _group_images(connection, DuplicateIndex(stored.fingerprints, settings, stored.search(settings)), order)
        write_parquet(workspace.duplicate_images, query_batches(connection, _IMAGES), DUPLICATE_IMAGES)
        connection.execute(_ROWS)
        connection.execute(_RELATED.format(order=order))
        if settings.scope == "image":
            connection.execute(_RELATED_BY_IMAGE.format(order=order))
        found = (_confirmed_rows(batch, stored.fingerprints, settings) for batch in query_batches(connection, _FOUND))
        write_parquet(workspace.duplicate_rows, found, DUPLICATE_ROWS)


def _group_images(connection: duckdb.DuckDBPyConnection, index: DuplicateIndex, order: str) -> None:
    """Tables ``ranked`` (number, place: images that may have copies) and ``members`` (those of another one's star)."""
    connection.register("candidates", pa.table({"number": index.with_candidates()}))
    best_first = connection.sql(_RANKED.format(order=order)).to_arrow_table().column("number").to_numpy()
    stars = build_star_clusters(index, best_first)
    connection.register("ranked", pa.table({"number": best_first, "place": np.arange(len(best_first))}))
    columns = {"member": stars.member, "representative": stars.representative, "hamming": stars.bits}
    distances = {"distance": stars.mean, "cell_distance": stars.cell}
    connection.register("members", pa.table({**columns, **distances}))


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
    made = [
        {
            "position": row["position"],
            "duplicate_group": row["star"],
            "duplicate_of": row["first_id"] if same[k] else None,
            "conflict_with": row["rival_id"],
            "distance": mean[k] if row["first_id"] is not None and same[k] else None,
            "hamming": int(hamming[k]) if row["first_id"] is not None and same[k] else None,
        }
        for k, row in enumerate(rows)
    ]
    return pa.RecordBatch.from_pylist(made, DUPLICATE_ROWS)


def _worst(values: NDArray[np.float64], row: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    worst = np.zeros(count)
    np.maximum.at(worst, row, values)
    return worst
