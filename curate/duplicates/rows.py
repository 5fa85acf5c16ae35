"""Near-identical images, and rows that repeat or contradict each other about them.

Many questions about one picture are legitimate. A row is a duplicate only when a row about the same
or a near-identical picture has the same question and the same answer; rows that differ in the answer
alone are conflicting. Text-only rows and rows with an unreadable image take no part.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.looks import Looks, difference, read_looks
from curate.duplicates.stars import Stars, build_stars
from curate.recipe import DuplicateSettings
from curate.rules.facts import create_views
from curate.workspace import Workspace, query_batches, write_parquet

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
# Images in keep-best order; rank 0 is the best.
_RANKED = """
    CREATE TABLE ranked AS
    SELECT image_key, row_number() OVER (ORDER BY {order}, image_key) - 1 AS rank
    FROM (
        SELECT s.image_key, s.width::BIGINT * s.height AS pixels, u.votes, u.id
        FROM images s JOIN (
            SELECT image_key, max(votes) AS votes, min(sample_id) AS id
            FROM (SELECT unnest(image_keys) AS image_key, len(answers) AS votes, sample_id FROM rows)
            GROUP BY image_key
        ) u USING (image_key)
        WHERE s.thumbnail IS NOT NULL
    )
"""
# Rows all of whose images are readable: their images, the stars of these, and how good a row is to keep.
_ROWS = """
    CREATE TABLE judged AS
    SELECT position, sample_id, question_key, answer_key, ranks, stars,
           row_number() OVER (ORDER BY {order}, sample_id) AS place
    FROM (
        SELECT r.position, any_value(r.sample_id) AS sample_id, any_value(r.sample_id) AS id,
               any_value(r.question_key) AS question_key, any_value(r.answer_key) AS answer_key,
               any_value(len(r.answers)) AS votes, min(s.pixels) AS pixels,
               list(s.rank ORDER BY r.image_no) AS ranks, list(s.star ORDER BY r.image_no) AS stars,
               count(s.rank) = count(*) AS readable
        FROM (
            SELECT position, sample_id, question_key, answer_key, answers, unnest(image_keys) AS image_key,
                   generate_subscripts(image_keys, 1) AS image_no
            FROM rows
        ) r
        LEFT JOIN (
            SELECT k.image_key, k.rank, m.representative AS star, i.width::BIGINT * i.height AS pixels
            FROM ranked k JOIN members m ON m.rank = k.rank JOIN images i ON i.image_key = k.image_key
        ) s ON s.image_key = r.image_key
        GROUP BY r.position
    ) WHERE readable
"""
# first: the row to keep of those that say the same; rival: the best row that answers otherwise.
_TWINS = """
    CREATE TABLE twins AS
    SELECT position, sample_id, ranks, stars, first,
           CASE WHEN answer_key = head_answer THEN other ELSE head END AS rival
    FROM (
        SELECT *,
            first_value(position) OVER (PARTITION BY stars, question_key, answer_key ORDER BY place) AS first,
            first_value(position) OVER asked AS head,
            first_value(answer_key) OVER asked AS head_answer
        FROM judged WINDOW asked AS (PARTITION BY stars, question_key ORDER BY place)
    ) LEFT JOIN (
        SELECT stars, question_key, arg_min(position, place) AS other
        FROM (
            SELECT *, first_value(answer_key) OVER (PARTITION BY stars, question_key ORDER BY place) AS best FROM judged
        ) WHERE answer_key <> best GROUP BY stars, question_key
    ) USING (stars, question_key)
"""
# Scope image: a row goes when none of its pictures is the representative of its star.
_IMAGE_TWINS = """
    CREATE OR REPLACE TABLE twins AS
    SELECT t.position, t.sample_id, t.ranks, t.stars, t.rival,
           CASE WHEN list_has_any(t.ranks, t.stars) THEN t.first ELSE coalesce(k.position, t.first) END AS first
    FROM twins t LEFT JOIN (
        SELECT stars, arg_min(position, place) AS position FROM judged WHERE ranks = stars GROUP BY stars
    ) k ON k.stars = t.stars
"""
_FOUND = """
    SELECT t.position, t.sample_id, t.stars[1] AS star, t.ranks, k.sample_id AS first_id, k.ranks AS first_ranks,
           c.sample_id AS rival_id
    FROM twins t
    LEFT JOIN judged k ON k.position = t.first AND t.first <> t.position
    LEFT JOIN judged c ON c.position = t.rival
    WHERE k.position IS NOT NULL OR c.position IS NOT NULL
       OR t.stars[1] IN (SELECT representative FROM members WHERE rank <> representative)
    ORDER BY t.position
"""


def find_duplicates(space: Workspace, settings: DuplicateSettings) -> None:
    """Write ``duplicates.parquet`` (images that belong to a star) and the table of duplicate and conflicting rows."""
    scratch = space.work / "thumbnails.u8"
    order = ", ".join(_ORDER[key] for key in settings.keep) or "id"
    with duckdb.connect(":memory:") as connection:
        create_views(connection, space)
        connection.execute(_RANKED.format(order=order))
        keys = connection.sql("SELECT image_key FROM ranked ORDER BY rank").to_arrow_table().column("image_key")
        columns = "k.rank, s.phash, s.dhash, s.thumbnail, s.width, s.height"
        query = f"SELECT {columns} FROM ranked k JOIN images s USING (image_key)"
        looks = read_looks(connection, query, len(keys), scratch)
        stars = build_stars(looks, settings)
        write_parquet(space.duplicate_images, _images(keys, stars), DUPLICATE_IMAGES)
        members = pa.table({"rank": np.arange(len(keys)), "representative": stars.representative})
        connection.register("members", members)
        connection.execute(_ROWS.format(order=order))
        connection.execute(_TWINS)
        if settings.scope == "image":
            connection.execute(_IMAGE_TWINS)
        found = (_confirmed(batch, keys, looks, settings) for batch in query_batches(connection, _FOUND))
        write_parquet(space.duplicate_rows, found, DUPLICATE_ROWS)
    del looks
    scratch.unlink()


def _images(keys: pa.ChunkedArray, stars: Stars) -> Iterator[pa.RecordBatch]:
    own = np.arange(len(keys))
    grouped = np.isin(own, stars.representative[stars.representative != own])
    rows = np.flatnonzero(grouped | (stars.representative != own))
    rows = rows[np.lexsort((rows, stars.representative[rows]))]
    yield pa.RecordBatch.from_arrays(
        [
            keys.take(rows).combine_chunks(),
            keys.take(stars.representative[rows]).combine_chunks(),
            pa.array(stars.mean[rows]),
            pa.array(stars.cell[rows]),
            pa.array(stars.bits[rows]),
        ],
        schema=DUPLICATE_IMAGES,
    )


def _confirmed(
    batch: pa.RecordBatch, keys: pa.ChunkedArray, looks: Looks, settings: DuplicateSettings
) -> pa.RecordBatch:
    """Compare each duplicate row with the row kept in its place, image by image: both were near the
    representative, which may be a third picture. A row whose images are too far from the kept one's stays."""
    rows = batch.to_pylist()
    pairs = [
        (number, i, j)
        for number, row in enumerate(rows)
        if row["first_id"] is not None
        for i, j in zip(row["ranks"], row["first_ranks"], strict=True)
    ]
    number, i, j = np.array(pairs, np.int64).reshape(-1, 3).T
    apart = difference(looks, i, looks, j, settings)
    mean, hamming = _worst(apart.mean, number, len(rows)), _worst(apart.bits.astype(float), number, len(rows))
    same = _worst((~apart.alike).astype(float), number, len(rows)) == 0
    made = [
        {
            "position": row["position"],
            "duplicate_group": keys[row["star"]].as_py(),
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
