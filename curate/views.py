"""The stored tables of a curation as SQL views: what rules, duplicates and reports query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.measure.store import image_schema
from curate.settings.copies import TextField
from curate.signals import IMAGE_MODELS
from curate.signals.clip import ZERO_SHOT
from curate.workspace import Workspace
from winnow.parquet.tables import parquet

# Tables of `curate.duplicates.texts.similar_texts` (place, group and likeness of a row, by text) and
# `curate.duplicates.texts.text_leaks`.
TEXT_FIELDS: tuple[TextField, ...] = get_args(TextField)
OF_TEXTS = {
    "cluster": pa.string(), "cluster_size": pa.int64(), "cluster_place": pa.int64(), "similarity": pa.float64(),
}  # fmt: skip
SIMILAR_TEXTS = pa.schema(
    [
        ("position", pa.int64()),
        *((f"{field}_{name}", kind) for field in TEXT_FIELDS for name, kind in OF_TEXTS.items()),
    ]
)
TEXT_LEAKS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("sample_id", pa.string()),
        ("evaluation", pa.string()),
        ("similarity", pa.float64()),
    ]
)
# The middle of the set's sizes (√(width × height)), and the unit in which CleanVision's odd_size measures from there.
_SET_SIZES = """
    SELECT (low + high) / 2 AS middle, CASE WHEN high > low THEN high - low ELSE (low + high) / 2 END AS unit FROM (
        SELECT q1 - 3 * (q3 - q1) AS low, q3 + 3 * (q3 - q1) AS high FROM (
            SELECT quantile_cont(side, 0.25) AS q1, quantile_cont(side, 0.75) AS q3 FROM (
                SELECT sqrt(s.width) * sqrt(s.height) AS side
                FROM (SELECT DISTINCT unnest(images) AS path, unnest(image_keys) AS image_key FROM rows) f
                JOIN images s USING (image_key) WHERE s.phash IS NOT NULL)))
"""
# One row a sample: its closest match in any evaluation set, of a kind that drops if there is one.
_CONTAMINATIONS = """
    SELECT sample_id, contaminated, same_question, closest.evaluation, closest.kind, closest.strength FROM (
        SELECT sample_id, bool_or(action = 'drop') AS contaminated,
               bool_or(same_question AND action = 'drop') AS same_question,
               arg_min({{'evaluation': evaluation, 'kind': kind, 'strength': strength}},
                       (action <> 'drop', coalesce(distance, 256 - strength, 0), benchmark, evaluation)) AS closest
        FROM {table} GROUP BY sample_id
    )
"""
_TEXT_LEAKS = """
    SELECT sample_id, max(similarity) AS similarity, arg_max(evaluation, similarity) AS text_evaluation
    FROM {} GROUP BY sample_id
"""
_LOSSES = """
    SELECT sample_id, avg(last_loss) AS train_loss, avg(first_loss) AS train_loss_first,
           avg(mean_loss) AS train_loss_mean, avg(forgotten) AS forgotten,
           CASE WHEN count(learned) = count(*) THEN avg(learned) END AS epoch_learned
    FROM (
        SELECT sample_id, filename, arg_max(loss, visit) AS last_loss, arg_min(loss, visit) AS first_loss,
               avg(loss) AS mean_loss, min(visit) FILTER (loss < ln(2)) AS learned,
               count(*) FILTER (loss >= ln(2) AND loss_before < ln(2)) AS forgotten
        FROM (
            SELECT sample_id, filename, loss, row_number() OVER seen AS visit, lag(loss) OVER seen AS loss_before
            FROM {table} WINDOW seen AS (PARTITION BY sample_id, filename ORDER BY stage, epoch)
        ) GROUP BY sample_id, filename
    ) GROUP BY sample_id
"""
_NO_DUPLICATES = """
    SELECT NULL::BIGINT AS position, NULL::VARCHAR AS duplicate_of, NULL::VARCHAR AS edited_copy_of,
           NULL::VARCHAR AS conflict_with, NULL::VARCHAR AS kind, NULL::DOUBLE AS strength,
           NULL::DOUBLE AS distance, NULL::INTEGER AS hamming, NULL::VARCHAR AS duplicate_group WHERE false
"""
_NO_SEMANTICS = """
    SELECT NULL::VARCHAR AS image_key, NULL::VARCHAR AS semantic_cluster, NULL::BIGINT AS semantic_cluster_size,
           NULL::BIGINT AS semantic_place, NULL::DOUBLE AS semantic_similarity WHERE false
"""
_NO_CONTAMINATION = """
    SELECT NULL::VARCHAR AS sample_id, NULL::BOOLEAN AS contaminated, NULL::BOOLEAN AS same_question,
           NULL::VARCHAR AS evaluation, NULL::VARCHAR AS kind, NULL::DOUBLE AS strength WHERE false
"""
_NO_MATCHES = "SELECT NULL::VARCHAR AS sample_id, NULL::DOUBLE AS itm WHERE false"
_NO_LOSSES = """
    SELECT NULL::VARCHAR AS sample_id, NULL::DOUBLE AS train_loss, NULL::DOUBLE AS train_loss_first,
           NULL::DOUBLE AS train_loss_mean, NULL::DOUBLE AS forgotten, NULL::DOUBLE AS epoch_learned WHERE false
"""
_NO_ANSWERS = """
    SELECT NULL::BIGINT AS position, NULL::DOUBLE AS neighbour_confidence, NULL::DOUBLE AS model_confidence,
           NULL::DOUBLE AS ocr_support, NULL::DOUBLE AS ocr_contradiction,
           NULL::DOUBLE AS answer_loss, NULL::DOUBLE AS picture_gain, NULL::DOUBLE AS suspect,
           NULL::VARCHAR AS suspect_why WHERE false
"""


def create_views(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    losses: Sequence[Path] = (),
    parts: Sequence[int] | None = None,
) -> None:
    """Create a view for each table: rows, paths, images, set_sizes, scores, texts, matches, duplicates,
    semantics, contaminations, losses, answers, similar_texts, text_leaks, and one for each of ``IMAGE_MODELS``.

    A table that the curation does not have is an empty view.

    Args:
        parts: of the corrected rows, by number; rows and texts are of these alone.
    """

    def view(name: str, query: str) -> None:
        connection.execute(f"CREATE VIEW {name} AS {query}")

    view("rows", f"SELECT * FROM {workspace.corrected.sql(parts)}")
    view("paths", f"SELECT path, image_key, error, error_detail FROM {parquet([workspace.paths])}")
    if measured := workspace.image_parts():
        view("images", f"SELECT * EXCLUDE (path, error, error_detail) FROM {parquet(measured)}")
    else:
        fields = [field for field in image_schema(None, {}) if field.name != "clip_embedding"]
        connection.register("no_images", pa.schema(fields).empty_table())
        view("images", "SELECT * EXCLUDE (path, error, error_detail) FROM no_images")
    view("set_sizes", _SET_SIZES)
    stored = pq.read_schema(workspace.scores).names if workspace.scores.is_file() else ["image_key"]
    absent = "".join(f', NULL::DOUBLE AS "{name}"' for name in ZERO_SHOT.columns if name not in stored)
    scores = parquet([workspace.scores]) if len(stored) > 1 else "(SELECT NULL::VARCHAR AS image_key) WHERE false"
    view("scores", f"SELECT *{absent} FROM {scores}")
    for name, model in IMAGE_MODELS.items():
        found_parts = sorted(workspace.model_folder(name).glob("part-*.parquet"))
        if not found_parts:
            # Lists are no columns of rules, and DuckDB takes no float16 of Arrow.
            fields = [field for field in model.schema if not pa.types.is_fixed_size_list(field.type)]
            connection.register(f"no_{name}", pa.schema(fields).empty_table())
        view(name, f"SELECT * FROM {parquet(found_parts) if found_parts else f'no_{name}'}")
    view("texts", f"SELECT * FROM {workspace.text.sql(parts)}")
    matched = workspace.itm
    view("matches", f"SELECT * FROM {parquet([matched])}" if matched.is_file() else _NO_MATCHES)
    found = workspace.duplicate_rows
    view("duplicates", found.sql_beside(workspace.corrected) if found.exists() else _NO_DUPLICATES)
    clustered = workspace.semantic_images
    view("semantics", f"SELECT * FROM {parquet([clustered])}" if clustered.is_file() else _NO_SEMANTICS)
    matched = workspace.contamination_rows
    has_matches = matched.is_file()
    view("contaminations", _CONTAMINATIONS.format(table=parquet([matched])) if has_matches else _NO_CONTAMINATION)
    for name, path, schema, query in (
        ("similar_texts", workspace.similar_texts, SIMILAR_TEXTS, "SELECT * FROM {}"),
        ("text_leaks", workspace.text_leaks, TEXT_LEAKS, _TEXT_LEAKS),
    ):
        if not path.is_file():
            connection.register(f"no_{name}", schema.empty_table())
        view(name, query.format(parquet([path]) if path.is_file() else f"no_{name}"))
    view("losses", _LOSSES.format(table=parquet(losses, "filename = true")) if losses else _NO_LOSSES)
    judged = workspace.answers
    view("answers", f"SELECT * EXCLUDE (sample_id) FROM {parquet([judged])}" if judged.is_file() else _NO_ANSWERS)
