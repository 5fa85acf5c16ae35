"""The stored tables of a curation as SQL views: what rules, duplicates and reports query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.measure.store import image_schema
from curate.signals.clip import ZERO_SHOT
from curate.workspace import Workspace
from winnow.tables import parquet

# The middle of the set's sizes (√(width × height)), and the unit in which CleanVision's odd_size measures from there.
_SET_SIZES = """
    SELECT (low + high) / 2 AS middle, CASE WHEN high > low THEN high - low ELSE (low + high) / 2 END AS unit FROM (
        SELECT q1 - 3 * (q3 - q1) AS low, q3 + 3 * (q3 - q1) AS high FROM (
            SELECT quantile_cont(side, 0.25) AS q1, quantile_cont(side, 0.75) AS q3 FROM (
                SELECT sqrt(s.width) * sqrt(s.height) AS side
                FROM (SELECT DISTINCT unnest(images) AS path, unnest(image_keys) AS image_key FROM rows) f
                JOIN images s USING (image_key) WHERE s.phash IS NOT NULL)))
"""
# One row a sample: its closest match in any evaluation set.
_CONTAMINATIONS = """
    SELECT sample_id, bool_or(same_question) AS same_question, arg_min(evaluation, coalesce(distance, 0)) AS evaluation
    FROM {table} GROUP BY sample_id
"""
_LOSSES = """
    SELECT sample_id, avg(last_loss) AS train_loss, avg(first_loss) AS train_loss_first FROM (
        SELECT sample_id, filename, arg_max(loss, (stage, epoch)) AS last_loss,
               arg_min(loss, (stage, epoch)) AS first_loss
        FROM {table} GROUP BY sample_id, filename
    ) GROUP BY sample_id
"""
_NO_DUPLICATES = """
    SELECT NULL::BIGINT AS position, NULL::VARCHAR AS duplicate_of, NULL::VARCHAR AS conflict_with,
           NULL::DOUBLE AS distance, NULL::INTEGER AS hamming, NULL::VARCHAR AS duplicate_group WHERE false
"""
_NO_CONTAMINATION = (
    "SELECT NULL::VARCHAR AS sample_id, NULL::BOOLEAN AS same_question, NULL::VARCHAR AS evaluation WHERE false"
)
_NO_LOSSES = (
    "SELECT NULL::VARCHAR AS sample_id, NULL::DOUBLE AS train_loss, NULL::DOUBLE AS train_loss_first WHERE false"
)


def create_views(connection: duckdb.DuckDBPyConnection, workspace: Workspace, losses: Sequence[Path] = ()) -> None:
    """Create a view for each table: rows, paths, images, set_sizes, scores, texts, duplicates, contaminations, losses.

    A table that the curation does not have is an empty view.
    """

    def view(name: str, query: str) -> None:
        connection.execute(f"CREATE VIEW {name} AS {query}")

    view("rows", f"SELECT * FROM {parquet([workspace.corrected])}")
    view("paths", f"SELECT path, image_key, error, error_detail FROM {parquet([workspace.paths])}")
    if parts := workspace.image_parts():
        view("images", f"SELECT * EXCLUDE (path, error, error_detail) FROM {parquet(parts)}")
    else:
        fields = [field for field in image_schema(None, {}) if field.name != "clip_embedding"]
        connection.register("no_images", pa.schema(fields).empty_table())
        view("images", "SELECT * EXCLUDE (path, error, error_detail) FROM no_images")
    view("set_sizes", _SET_SIZES)
    stored = pq.read_schema(workspace.scores).names if workspace.scores.is_file() else ["image_key"]
    absent = "".join(f', NULL::DOUBLE AS "{name}"' for name in ZERO_SHOT.columns if name not in stored)
    scores = parquet([workspace.scores]) if len(stored) > 1 else "(SELECT NULL::VARCHAR AS image_key) WHERE false"
    view("scores", f"SELECT *{absent} FROM {scores}")
    view("texts", f"SELECT * FROM {parquet([workspace.text])}")
    found = workspace.duplicate_rows
    view("duplicates", f"SELECT * FROM {parquet([found])}" if found.is_file() else _NO_DUPLICATES)
    matched = workspace.contamination_rows
    has_matches = matched.is_file()
    view("contaminations", _CONTAMINATIONS.format(table=parquet([matched])) if has_matches else _NO_CONTAMINATION)
    view("losses", _LOSSES.format(table=parquet(losses, "filename = true")) if losses else _NO_LOSSES)
