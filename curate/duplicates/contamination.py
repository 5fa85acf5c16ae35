"""Which rows of the training data also occur in an evaluation set.

A row with images matches by an image: by equal bytes, by a confirmed fingerprint
(``curate.duplicates.images.fingerprints``), or as an edited copy (``curate.duplicates.edits.search``); each match has
a kind, and the recipe's action for it. The question alone is no leak, since many rows ask what is in the image. With
``questions`` it is also recorded whether the evaluation set asks the same normalised question about that very
image, and a row without images matches by its question, because it has nothing else.

What is found depends on a row, its images and the evaluation set, so it is kept for each part of the rows: when a row
is new, its part alone is compared, with the whole evaluation set.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.edits.stored_edits import EditedCopies
from curate.duplicates.images.fingerprints import ImageFingerprints, matching_pairs, read_fingerprints
from curate.duplicates.images.stored import number_images, starts_of
from curate.kinds import EDITS, KINDS, KindPairs
from curate.row_keys import short_key, shown_keys, write_row_keys
from curate.settings.copies import ContaminationSettings, MatchSettings, sought
from curate.signals import SIGNALS
from curate.workspace import Workspace
from winnow.files import file_name, sha256_bytes, write_json
from winnow.parquet.table_parts import Parts, PartTask
from winnow.parquet.tables import database, literal, parquet, query_batches, write_parquet
from winnow.run import file_stats

_VERSION = 1  # raise it when the same rows and images have other matches
_KEPT = 16  # closest evaluation images that are kept of a training image; one of them may carry its question
_HELD = 1 << 20  # pairs in memory above which the farther ones are thrown away
_PAIR = np.dtype(
    [("fingerprint", np.int64), ("distance", np.float64), ("evaluation_fingerprint", np.int64), ("hamming", np.int32)]
)


def closest_matches(train: ImageFingerprints, evaluation: ImageFingerprints, settings: MatchSettings) -> pa.Table:
    """Confirmed pairs: ``fingerprint`` (index into ``train``), ``evaluation_fingerprint``, ``distance``, ``hamming``.

    Of each training fingerprint the 16 closest, which are its ``own``, and of each evaluation fingerprint at least the
    closest one.
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
    own = _place(held["fingerprint"]) < _KEPT
    return pa.table({**{name: held[name] for name in _PAIR.names or ()}, "own": own})


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
# What is kept of a part: its rows that match, by ``row``, their number there. Without one: an evaluation image that was
# found, and by which kind first (place and number of the kind).
_MATCHES = pa.schema([("row", pa.int64()), *CONTAMINATION, ("found", pa.int32())])
_IMAGES = "SELECT image_key, phash, dhash, thumbnail, width, height FROM"
_NO_IMAGES = """
    SELECT NULL::VARCHAR AS image_key, NULL::UBIGINT AS phash, NULL::UBIGINT AS dhash, NULL::BLOB AS thumbnail,
           NULL::INTEGER AS width, NULL::INTEGER AS height WHERE false
"""
# The files that hold the images of each part.
_FILES = """
    SELECT r.part, list_sort(list(DISTINCT i.file)) AS files
    FROM (SELECT DISTINCT file_index AS part, unnest(image_keys) AS image_key FROM {rows}) r
    JOIN (SELECT image_key, file_index AS file FROM {images}) i USING (image_key)
    GROUP BY r.part
"""
# Readable images, numbered by fingerprint: of equal ones only the first, which leads, is compared.
_FINGERPRINTS = """
    CREATE OR REPLACE TABLE {name} AS
    SELECT image_key, pixels, fingerprint, image_key = min(image_key) OVER (PARTITION BY fingerprint) AS leads
    FROM (
        SELECT image_key, width::BIGINT * height AS pixels,
               dense_rank() OVER (ORDER BY phash, dhash, least(width, height), md5(thumbnail)) - 1 AS fingerprint
        FROM {images}
        WHERE thumbnail IS NOT NULL AND image_key IN (SELECT unnest(image_keys) FROM {rows})
    )
"""
_MATCHED = """
    CREATE OR REPLACE TABLE matched AS
    SELECT m.* EXCLUDE (kind), kind AS number, {kinds}[kind + 1] AS kind, {actions}[kind + 1] AS action,
           CASE WHEN match = 'edit' THEN kind WHEN match = 'look' THEN 1 ELSE 0 END AS place
    FROM (
        SELECT t.image_key, t.image_key AS evaluation_key, e.fingerprint, 'bytes' AS match, 0 AS kind, 1.0 AS strength,
               0.0 AS distance, 0 AS hamming, true AS own
        FROM train t JOIN evaluation e ON e.image_key = t.image_key
        UNION ALL
        SELECT t.image_key, e.image_key, e.fingerprint, 'look', CASE WHEN t.pixels = e.pixels THEN 1 ELSE 2 END,
               1 - n.distance / 255, n.distance, n.hamming, n.own
        FROM near n JOIN train t ON t.fingerprint = n.fingerprint
        JOIN evaluation e ON e.fingerprint = n.evaluation_fingerprint AND e.leads
        WHERE t.image_key NOT IN (SELECT image_key FROM evaluation) OR n.distance > 0
        UNION ALL
        SELECT t.image_key, e.image_key, e.fingerprint, 'edit', n.kind, n.strength, NULL, NULL, true
        FROM edits n JOIN train t USING (image_key) JOIN evaluation e ON e.image_key = n.evaluation_key
        WHERE t.image_key <> e.image_key AND (t.fingerprint, e.fingerprint) NOT IN (
            SELECT (fingerprint, evaluation_fingerprint) FROM near WHERE own
        )
    ) m WHERE {actions}[kind + 1] <> 'ignore'
"""
# One match for each image of each row: one that drops, then one with the same question, then the closest.
_BY_IMAGE = """
    SELECT row, {benchmark} AS benchmark, c.sample_id, c.image_key, c.path, evaluation_key,
           f.path AS evaluation_path, coalesce(asked, f.sample_id) AS evaluation, match, kind,
           strength, action, distance, hamming, {same} AS same_question
    FROM (
        SELECT r.row, r.sample_id, r.image_key, r.path, m.* EXCLUDE (image_key, fingerprint, number, own),
               q.sample_id AS asked,
               row_number() OVER (
                   PARTITION BY r.row, r.path ORDER BY m.action <> 'drop', q.sample_id IS NULL, m.place,
                   m.distance, m.strength DESC, m.evaluation_key
               ) AS preference
        FROM (
            SELECT DISTINCT row, sample_id, question_key, unnest(image_keys) AS image_key, unnest(images) AS path
            FROM rows
        ) r
        JOIN matched m ON m.image_key = r.image_key AND m.own
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
    SELECT r.row, {benchmark}, r.sample_id, NULL, NULL, NULL, NULL, e.sample_id, 'question', 'question', 1.0,
           'drop', NULL, NULL, true
    FROM rows r JOIN (
        SELECT question_key, min(sample_id) AS sample_id FROM evaluated WHERE {questions} GROUP BY ALL
    ) e USING (question_key)
    WHERE len(r.images) = 0 AND r.question_key <> ''
"""
_FOUND = """
    SELECT e.image_key AS evaluation_key, min(m.place * {kinds} + m.number) AS found
    FROM evaluation e JOIN matched m ON m.fingerprint = e.fingerprint GROUP BY e.image_key ORDER BY e.image_key
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
    for folder in workspace.contaminated.iterdir():
        if folder not in {_matches(workspace, name).folder for name, _ in evaluations}:
            shutil.rmtree(folder)
    return copies.limited


def _matches(workspace: Workspace, benchmark: str) -> Parts:
    return Parts(workspace.contaminated / file_name(benchmark))


def _against(
    workspace: Workspace,
    benchmark: str,
    other: Workspace,
    settings: ContaminationSettings,
    edits: KindPairs,
    counts: list[dict[str, Any]],
) -> Iterator[pa.RecordBatch]:
    """The rows of one benchmark; its counts are appended to ``counts``."""
    corrected, parts = workspace.corrected, _matches(workspace, benchmark)
    with database(workspace.work) as connection:
        connection.execute(f"CREATE VIEW evaluated AS SELECT * FROM {other.corrected.sql()}")
        measured = other.image_parts()
        connection.execute(
            f"CREATE VIEW evaluated_images AS {f'{_IMAGES} {parquet(measured)}' if measured else _NO_IMAGES}"
        )
        of_parts = _write_edits(connection, workspace, other, edits)
        made_by = ["contamination", _VERSION, duckdb.__version__, {name: one.version for name, one in SIGNALS.items()}]
        made_by += [benchmark, settings.model_dump(mode="json", exclude={"against", "texts"})]
        made_by += [other.corrected.names(), file_stats(*measured, below=other.folder)]
        tasks = [
            PartTask([*made_by, name, said], (number,))
            for number, (name, said) in enumerate(zip(corrected.names(), of_parts, strict=True))
        ]
        by_name = {task.name: task.args[0] for task in tasks}
        missing = {by_name[name]: parts.folder / name for name in parts.missing(by_name)}
        if missing:
            _write_matches(connection, workspace, benchmark, settings, missing)
        parts.finish([task.name for task in tasks])
        counts.append({"benchmark": benchmark, **_counts(connection, parts)})
        table = parts.sql_beside(corrected)
        query = f"SELECT * EXCLUDE (position, found) FROM ({table}) WHERE position IS NOT NULL ORDER BY position, path"
        yield from query_batches(connection, query)


def _write_edits(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, other: Workspace, edits: KindPairs
) -> list[str | None]:
    """Create the table ``edits`` (image_key, evaluation_key, kind, strength); a digest of its rows about the images of
    each part, None if there are none at all.
    """
    connection.register("pairs", pa.table({name: getattr(edits, name) for name in ("i", "j", "kind", "strength")}))
    if not len(edits):
        keys = "NULL::VARCHAR AS image_key, NULL::VARCHAR AS evaluation_key"
        connection.execute(f"CREATE TABLE edits AS SELECT {keys}, kind, strength FROM pairs")
        return [None] * len(workspace.corrected.names())
    number_images(connection, starts_of(workspace.image_parts()))
    number_images(connection, starts_of(other.image_parts()), "evaluation_numbered")
    connection.execute("""
        CREATE TABLE edits AS
        SELECT u.image_key, v.image_key AS evaluation_key, n.kind, n.strength FROM pairs n
        JOIN numbered u ON u.number = n.i JOIN evaluation_numbered v ON v.number = n.j
    """)
    write_row_keys(connection, workspace)
    query = (
        f"SELECT {short_key('image_key')} AS key, md5(concat_ws(chr(31), *COLUMNS(*))) AS said FROM edits ORDER BY ALL"
    )
    said = connection.sql(query).to_arrow_table()
    keys, digests = said["key"].to_numpy(), np.array(said["said"].to_pylist(), "S32")
    return [sha256_bytes(digests[np.isin(keys, images)].tobytes()) for images, _ in shown_keys(workspace)]


def _write_matches(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    benchmark: str,
    settings: ContaminationSettings,
    missing: Mapping[int, Path],
) -> None:
    """Write parts, by their numbers."""
    scratch = {name: workspace.work / f"{name}.u8" for name in ("train", "evaluation")}
    corrected, measured = workspace.corrected.files(), workspace.image_parts()
    held: dict[int, list[int]] = {}
    if measured:
        rows = parquet([corrected[number] for number in missing])
        held = dict(connection.execute(_FILES.format(rows=rows, images=parquet(measured))).fetchall())
    connection.execute(_FINGERPRINTS.format(name="evaluation", images="evaluated_images", rows="evaluated"))
    evaluation = _read(connection, "evaluation", "evaluated_images", scratch["evaluation"])
    actions = [settings.kinds.get(kind, "ignore") for kind in KINDS]
    filled = {
        "benchmark": literal(benchmark),
        "questions": "true" if settings.questions else "false",
        "same": "asked IS NOT NULL" if settings.questions else "NULL::BOOLEAN",
    }
    by_row = f"{_BY_IMAGE.format(**filled)} UNION ALL {_BY_QUESTION.format(**filled)}"
    for place, (number, path) in enumerate(missing.items()):
        files = [measured[file] for file in held.get(place, [])]
        table = f"read_parquet({literal(str(corrected[number]))}, file_row_number = true)"
        connection.execute(f"CREATE OR REPLACE VIEW rows AS SELECT file_row_number AS row, * FROM {table}")
        connection.execute(f"CREATE OR REPLACE VIEW images AS {f'{_IMAGES} {parquet(files)}' if files else _NO_IMAGES}")
        connection.execute(_FINGERPRINTS.format(name="train", images="images", rows="rows"))
        train = _read(connection, "train", "images", scratch["train"])
        connection.register("near", closest_matches(train, evaluation, settings))
        connection.execute(_MATCHED.format(kinds=list(KINDS), actions=actions))
        found = connection.sql(_FOUND.format(kinds=len(KINDS))).to_arrow_table()
        of_rows = connection.sql(f"SELECT * FROM ({by_row}) ORDER BY row, path").to_arrow_table()
        write_parquet(path, [_with_all(of_rows), _with_all(found)], _MATCHES)
        connection.unregister("near")
        del train
    del evaluation
    for path in scratch.values():
        path.unlink()


def _with_all(table: pa.Table) -> pa.Table:
    """A table with all columns of what is kept; those that it lacks are null."""
    columns = {
        field.name: table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in _MATCHES
    }
    return pa.table(columns)


def _read(connection: duckdb.DuckDBPyConnection, table: str, images: str, scratch: Any) -> ImageFingerprints:
    count = connection.execute(f"SELECT count(*) FILTER (WHERE leads) FROM {table}").fetchall()[0][0]
    query = f"""SELECT t.fingerprint AS rank, s.phash, s.dhash, s.thumbnail, s.width, s.height
        FROM {table} t JOIN {images} s USING (image_key) WHERE t.leads"""
    return read_fingerprints(connection, query, count, scratch)


def _counts(connection: duckdb.DuckDBPyConnection, matches: Parts) -> dict[str, Any]:
    """Rows and images of the evaluation set, and its images that were found: all, and by the first kind of each."""
    rows, images = connection.execute("""
        SELECT (SELECT count(*) FROM evaluated), count(*) FROM evaluated_images
        WHERE thumbnail IS NOT NULL AND image_key IN (SELECT unnest(image_keys) FROM evaluated)
    """).fetchall()[0]
    kinds = connection.execute(f"""
        SELECT found % {len(KINDS)}, count(*) FROM (
            SELECT min(found) AS found FROM {parquet(matches.files())} WHERE found IS NOT NULL GROUP BY evaluation_key
        ) GROUP BY ALL
    """).fetchall()
    found = {KINDS[number]: count for number, count in kinds}
    return {
        "evaluation_rows": rows,
        "evaluation_images": images,
        "evaluation_images_found": sum(found.values()),
        "evaluation_images_by_kind": {kind: found[kind] for kind in KINDS if kind in found},
    }
