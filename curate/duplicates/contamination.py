"""Which rows of the training data also occur in an evaluation set.

A row with images matches by an image: by equal bytes, by a confirmed fingerprint
(``curate.duplicates.images.fingerprints``), or as an edited copy (``curate.duplicates.edits.search``); each match has
a kind, and the recipe's action for it. The question alone is no leak, since many rows ask what is in the image. With
``questions`` it is also recorded whether the evaluation set asks the same normalised question about that very
image, and a row without images matches by its question, because it has nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.edits.stored_edits import EditedCopies
from curate.duplicates.images.fingerprints import ImageFingerprints, matching_pairs, read_fingerprints
from curate.duplicates.images.stored import number_images, starts_of
from curate.kinds import EDITS, KINDS, KindPairs
from curate.settings.copies import ContaminationSettings, MatchSettings, sought
from curate.views import create_views
from curate.workspace import Workspace
from winnow.files import write_json
from winnow.tables import database, literal, parquet, query_batches, write_parquet

_KEPT = 16  # closest evaluation images that are kept of a training image; one of them may carry its question
_HELD = 1 << 20  # pairs in memory above which the farther ones are thrown away
_PAIR = np.dtype(
    [("fingerprint", np.int64), ("distance", np.float64), ("evaluation_fingerprint", np.int64), ("hamming", np.int32)]
)


def closest_matches(train: ImageFingerprints, evaluation: ImageFingerprints, settings: MatchSettings) -> pa.Table:
    """Confirmed pairs: ``fingerprint`` (index into ``train``), ``evaluation_fingerprint``, ``distance``, ``hamming``.

    Of each training fingerprint the 16 closest, and of each evaluation fingerprint at least the closest one.
    """
    held = np.empty(0, _PAIR)
    blocks: list[NDArray[np.void]] = []
    waiting = 0
    for i, j, difference in matching_pairs(train, evaluation, settings):
        block = np.empty(len(i), _PAIR)
        block["fingerprint"], block["evaluation_fingerprint"] = i, j
        block["distance"], block["hamming"] = difference.mean, difference.bits
        blocks.append(block)
        waiting += len(i)
        if waiting > _HELD:
            held, blocks, waiting = _thinned(np.concatenate([held, *blocks])), [], 0
    held = _thinned(np.concatenate([held, *blocks]))
    return pa.table({name: held[name] for name in _PAIR.names or ()})


def _thinned(pairs: NDArray[np.void]) -> NDArray[np.void]:
    pairs = pairs[np.lexsort((pairs["evaluation_fingerprint"], pairs["distance"], pairs["fingerprint"]))]
    return pairs[(_place(pairs["fingerprint"]) < _KEPT) | _is_closest(pairs)]


def _place(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal values come before each, in a sorted array."""
    return np.arange(len(ordered)) - np.searchsorted(ordered, ordered)


def _is_closest(pairs: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether a pair is the closest one of its evaluation fingerprint."""
    order = np.lexsort((pairs["fingerprint"], pairs["distance"], pairs["evaluation_fingerprint"]))
    closest = np.empty(len(pairs), bool)
    closest[order] = _place(pairs["evaluation_fingerprint"][order]) == 0
    return closest


CONTAMINATION = pa.schema(
    [
        ("benchmark", pa.string()),
        ("sample_id", pa.string()),
        ("image_key", pa.string()),
        ("path", pa.string()),
        ("evaluation_key", pa.string()),
        ("evaluation_path", pa.string()),
        ("evaluation", pa.string()),
        ("match", pa.string()),
        ("kind", pa.string()),
        ("strength", pa.float64()),
        ("action", pa.string()),
        ("distance", pa.float64()),
        ("hamming", pa.int32()),
        ("same_question", pa.bool_()),
    ]
)
# Readable images, numbered by fingerprint: of equal ones only the first, which leads, is compared.
_FINGERPRINTS = """
    CREATE TABLE {name} AS
    SELECT image_key, pixels, fingerprint, image_key = min(image_key) OVER (PARTITION BY fingerprint) AS leads
    FROM (
        SELECT image_key, width::BIGINT * height AS pixels,
               dense_rank() OVER (ORDER BY phash, dhash, least(width, height), md5(thumbnail)) - 1 AS fingerprint
        FROM {images}
        WHERE thumbnail IS NOT NULL AND image_key IN (SELECT unnest(image_keys) FROM {rows})
    )
"""
_MATCHED = """
    CREATE TABLE matched AS
    SELECT m.* EXCLUDE (kind), {kinds}[kind + 1] AS kind, {actions}[kind + 1] AS action,
           CASE WHEN match = 'edit' THEN kind WHEN match = 'look' THEN 1 ELSE 0 END AS place
    FROM (
        SELECT t.image_key, t.image_key AS evaluation_key, e.fingerprint, 'bytes' AS match, 0 AS kind, 1.0 AS strength,
               0.0 AS distance, 0 AS hamming
        FROM train t JOIN evaluation e ON e.image_key = t.image_key
        UNION ALL
        SELECT t.image_key, e.image_key, e.fingerprint, 'look', CASE WHEN t.pixels = e.pixels THEN 1 ELSE 2 END,
               1 - n.distance / 255, n.distance, n.hamming
        FROM near n JOIN train t ON t.fingerprint = n.fingerprint
        JOIN evaluation e ON e.fingerprint = n.evaluation_fingerprint AND e.leads
        WHERE t.image_key NOT IN (SELECT image_key FROM evaluation) OR n.distance > 0
        UNION ALL
        SELECT t.image_key, e.image_key, e.fingerprint, 'edit', n.kind, n.strength, NULL, NULL
        FROM edits n JOIN numbered u ON u.number = n.i JOIN train t ON t.image_key = u.image_key
        JOIN evaluation_numbered v ON v.number = n.j JOIN evaluation e ON e.image_key = v.image_key
        WHERE t.image_key <> e.image_key
              AND (t.fingerprint, e.fingerprint) NOT IN (SELECT (fingerprint, evaluation_fingerprint) FROM near)
    ) m WHERE {actions}[kind + 1] <> 'ignore'
"""
# One match for each image of each row: one that drops, then one with the same question, then the closest.
_BY_IMAGE = """
    SELECT position, {benchmark} AS benchmark, c.sample_id, c.image_key, c.path, evaluation_key,
           f.path AS evaluation_path, coalesce(asked, f.sample_id) AS evaluation, match, kind,
           strength, action, distance, hamming, {same} AS same_question
    FROM (
        SELECT r.position, r.sample_id, r.image_key, r.path, m.* EXCLUDE (image_key, fingerprint),
               q.sample_id AS asked,
               row_number() OVER (
                   PARTITION BY r.position, r.path ORDER BY m.action <> 'drop', q.sample_id IS NULL, m.place,
                   m.distance, m.strength DESC, m.evaluation_key
               ) AS preference
        FROM (
            SELECT DISTINCT position, sample_id, question_key, unnest(image_keys) AS image_key, unnest(images) AS path
            FROM rows
        ) r
        JOIN matched m ON m.image_key = r.image_key
        LEFT JOIN (
            SELECT e.fingerprint, s.question_key, min(s.sample_id) AS sample_id
            FROM (SELECT sample_id, question_key, unnest(image_keys) AS image_key FROM evaluated) s
            JOIN evaluation e USING (image_key)
            WHERE {questions} GROUP BY ALL
        ) q ON q.fingerprint = m.fingerprint AND q.question_key = r.question_key
    ) c
    JOIN (
        SELECT image_key AS evaluation_key, min(path) AS path, min(sample_id) AS sample_id FROM (
            SELECT sample_id, unnest(image_keys) AS image_key, unnest(images) AS path FROM evaluated
        ) GROUP BY image_key
    ) f USING (evaluation_key)
    WHERE preference = 1
"""
_BY_QUESTION = """
    SELECT r.position, {benchmark}, r.sample_id, NULL, NULL, NULL, NULL, e.sample_id, 'question', 'question', 1.0,
           'drop', NULL, NULL, true
    FROM rows r JOIN (
        SELECT question_key, min(sample_id) AS sample_id FROM evaluated WHERE {questions} GROUP BY ALL
    ) e USING (question_key)
    WHERE len(r.images) = 0 AND r.question_key <> ''
"""


def find_contamination(
    workspace: Workspace, evaluations: Sequence[tuple[str, Workspace]], settings: ContaminationSettings
) -> int:
    """Write ``workspace.contamination_rows``: per benchmark, each row that is in it, how it matches, of which kind.

    Beside it, ``workspace.contamination_counts``: how large each benchmark is and how many of its images were found.

    Args:
        evaluations: name and workspace of each evaluation set, read and measured.

    Returns:
        How many images were not laid over all those that seemed to be edited copies.
    """
    counts: list[dict[str, Any]] = []
    copies = EditedCopies(workspace, set(sought(settings.kinds)) & set(EDITS))
    batches = (
        batch
        for name, other in evaluations
        for batch in _against(workspace, name, other, settings, copies.between(other, name), counts)
    )
    write_parquet(workspace.contamination_rows, batches, CONTAMINATION)
    write_json(workspace.contamination_counts, counts)
    return copies.limited


def _against(
    workspace: Workspace,
    benchmark: str,
    other: Workspace,
    settings: ContaminationSettings,
    edits: KindPairs,
    counts: list[dict[str, Any]],
) -> Iterator[pa.RecordBatch]:
    """The rows of one benchmark; its counts are appended to ``counts``."""
    scratch = {name: workspace.work / f"{name}.u8" for name in ("train", "evaluation")}
    with database(workspace.work) as connection:
        create_views(connection, workspace)
        connection.execute(f"CREATE VIEW evaluated AS SELECT * FROM {other.corrected.sql()}")
        columns = "SELECT image_key, phash, dhash, thumbnail, width, height FROM"
        parts = other.image_parts()
        connection.execute(
            f"CREATE VIEW evaluated_images AS {columns} {parquet(parts) if parts else 'images WHERE false'}"
        )
        connection.execute(_FINGERPRINTS.format(name="train", images="images", rows="rows"))
        connection.execute(_FINGERPRINTS.format(name="evaluation", images="evaluated_images", rows="evaluated"))
        train = _read(connection, "train", "images", scratch["train"])
        evaluation = _read(connection, "evaluation", "evaluated_images", scratch["evaluation"])
        connection.register("near", closest_matches(train, evaluation, settings))
        connection.register("edits", pa.table({name: getattr(edits, name) for name in ("i", "j", "kind", "strength")}))
        number_images(connection, starts_of(workspace.image_parts()))
        number_images(connection, starts_of(other.image_parts()), "evaluation_numbered")
        actions = [settings.kinds.get(kind, "ignore") for kind in KINDS]
        connection.execute(_MATCHED.format(kinds=list(KINDS), actions=actions))
        counts.append({"benchmark": benchmark, **_counts(connection)})
        filled = {
            "benchmark": literal(benchmark),
            "questions": "true" if settings.questions else "false",
            "same": "asked IS NOT NULL" if settings.questions else "NULL::BOOLEAN",
        }
        both = f"{_BY_IMAGE.format(**filled)} UNION ALL {_BY_QUESTION.format(**filled)}"
        yield from query_batches(connection, f"SELECT * EXCLUDE (position) FROM ({both}) ORDER BY position, path")
    del train, evaluation
    for path in scratch.values():
        path.unlink()


def _read(connection: duckdb.DuckDBPyConnection, table: str, images: str, scratch: Any) -> ImageFingerprints:
    count = connection.execute(f"SELECT count(*) FILTER (WHERE leads) FROM {table}").fetchall()[0][0]
    query = f"""SELECT t.fingerprint AS rank, s.phash, s.dhash, s.thumbnail, s.width, s.height
        FROM {table} t JOIN {images} s USING (image_key) WHERE t.leads"""
    return read_fingerprints(connection, query, count, scratch)


def _counts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Rows and images of the evaluation set, and its images that were found: all, and by the first kind of each."""
    rows, images = connection.execute(
        "SELECT (SELECT count(*) FROM evaluated), (SELECT count(*) FROM evaluation)"
    ).fetchall()[0]
    kinds = connection.execute("""
        SELECT kind, count(*) FROM (
            SELECT e.image_key, arg_min(m.kind, m.place) AS kind
            FROM evaluation e JOIN matched m ON m.fingerprint = e.fingerprint GROUP BY e.image_key
        ) GROUP BY kind
    """).fetchall()
    found = dict(kinds)
    return {
        "evaluation_rows": rows,
        "evaluation_images": images,
        "evaluation_images_found": sum(found.values()),
        "evaluation_images_by_kind": {kind: found[kind] for kind in KINDS if kind in found},
    }
