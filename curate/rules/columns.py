"""The columns that a rule may ask about, and the table that holds them: one row per sample and image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.measure.store import image_schema
from curate.signals import describe
from curate.signals.clip import ZERO_SHOT
from curate.workspace import Workspace
from winnow.errors import UserError
from winnow.tables import parquet

_SQL_TYPES = {"string": "VARCHAR", "int32": "INTEGER", "int64": "BIGINT", "uint64": "UBIGINT", "double": "DOUBLE"}
_HIDDEN = {"image_key", "path", "error", "error_detail", "thumbnail", "clip_embedding"}
_FILE_COLUMNS = {
    "bytes": "size of the file in bytes",
    "format": "JPEG, PNG, … as its content says",
    "width": "pixels, after EXIF orientation",
    "height": "pixels, after EXIF orientation",
    "mode": "Pillow's mode of the file: RGB, L, P, CMYK, …",
    "frames": "number of frames; above 1 is an animation",
    "exif_orientation": "1-8, null without the tag",
}
_TEXT_TYPES = {
    "turns": "INTEGER", "question_words": "INTEGER", "answer_words": "INTEGER", "empty_answer": "BOOLEAN",
    "echoed_answer": "BOOLEAN", "refusal": "BOOLEAN", "markers_match": "BOOLEAN", "alternates": "BOOLEAN",
    "control_token": "VARCHAR", "longest_turn_words": "INTEGER", "longest_turn_chars": "INTEGER",
    "answer_type_mismatch": "BOOLEAN",
    "clip_alignment": "DOUBLE", "agreement": "DOUBLE", "vote_entropy": "DOUBLE",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column that rules may use.

    Attributes:
        table: where it comes from: rows, path, image, score, text, duplicate, contamination or loss.
        sql: how it is read there.
        type: its DuckDB type.
        about: meaning, unit, range.
    """

    table: str
    sql: str
    type: str
    about: str


@lru_cache(maxsize=8)
def known_columns(scores: tuple[str, ...] = ()) -> dict[str, Column]:
    """Every column by name, in the order in which `curate signals` shows them.

    Args:
        scores: prompt sets and heads of the recipe.

    Raises:
        UserError: one of them has the name of another column.
    """
    about = {column: meaning for _, column, _, meaning in describe()} | _FILE_COLUMNS
    found = {
        "error": Column("path", "p.error", "VARCHAR", "what is wrong with the file (missing, empty, …); or null"),
        "error_detail": Column("path", "p.error_detail", "VARCHAR", "the decoder's own words"),
    }  # fmt: skip
    for field in image_schema(None, {}):
        if field.name not in _HIDDEN:
            kind = _SQL_TYPES[str(field.type)]
            found[field.name] = Column("image", f's."{field.name}"', kind, about.get(field.name, ""))
    for name, kind in _TEXT_TYPES.items():
        found[name] = Column("text", f't."{name}"', kind, about.get(name, ""))
    found.update(_ROW_COLUMNS | _FOUND_COLUMNS)
    if clash := next((name for name in scores if name in found), None):
        raise UserError(f"signals: {clash!r} is the name of another column; call the prompt set or head otherwise")
    for name in dict.fromkeys([*ZERO_SHOT.columns, *scores]):
        meaning = ZERO_SHOT.columns.get(name, "0–1: a prompt set or head of the recipe")
        found[name] = Column("score", f'z."{name}"', "DOUBLE", meaning)
    return found


_ROW_COLUMNS = {
    "sample_id": Column("rows", "r.sample_id", "VARCHAR", "id of the row"),
    "source": Column("rows", "r.source", "VARCHAR", "name of its dataset"),
    "split": Column("rows", "r.split", "VARCHAR", "train, val, …"),
    "question": Column("rows", "r.question", "VARCHAR", "first user turn without <image>"),
    "answer": Column("rows", "r.answer", "VARCHAR", "first assistant turn"),
    "question_type": Column("rows", "r.question_type", "VARCHAR", "meta.question_type of the source, or null"),
    "votes": Column("rows", "len(r.answers)", "BIGINT", "number of references"),
    "images": Column("rows", "len(r.images)", "BIGINT", "number of images; 0 is a text-only row"),
    "bad_row": Column("rows", "r.bad_row", "VARCHAR", "why the row could not be read, or null"),
}
# CleanVision's odd_size: how far √(width × height) lies from the middle of the set's, in units of the range that
# quartiles ± 3 interquartile ranges span; of the middle itself where all sizes are equal.
_ODD_SIZE = """CASE WHEN s.phash IS NOT NULL THEN 1 - least(
    abs(sqrt(s.width) * sqrt(s.height) - (SELECT middle FROM set_sizes)) / (SELECT unit FROM set_sizes), 1) END"""
_SET_SIZES = """
    SELECT (low + high) / 2 AS middle, CASE WHEN high > low THEN high - low ELSE (low + high) / 2 END AS unit FROM (
        SELECT q1 - 3 * (q3 - q1) AS low, q3 + 3 * (q3 - q1) AS high FROM (
            SELECT quantile_cont(side, 0.25) AS q1, quantile_cont(side, 0.75) AS q3 FROM (
                SELECT sqrt(s.width) * sqrt(s.height) AS side
                FROM (SELECT DISTINCT unnest(images) AS path, unnest(image_keys) AS image_key FROM rows) f
                JOIN images s USING (image_key) WHERE s.phash IS NOT NULL)))
"""
_FOUND_COLUMNS = {
    "odd_size_score": Column("image", _ODD_SIZE, "DOUBLE",
                             "0–1: CleanVision's odd_size, which compares √(width × height) with the whole set's"),
    "duplicate": Column("duplicate", "d.duplicate_of IS NOT NULL", "BOOLEAN",
                        "an equal row about a near-identical image is kept in its place (needs `duplicates:`)"),
    "duplicate_distance": Column("duplicate", "d.distance", "DOUBLE",
                                 "0-255: mean difference of the two thumbnails; null unless it is a duplicate"),
    "conflicting": Column("duplicate", "d.conflict_with IS NOT NULL", "BOOLEAN",
                          "a near-identical image has the same question with another answer (needs `duplicates:`)"),
    "contaminated": Column("contamination", "c.sample_id IS NOT NULL", "BOOLEAN",
                           "its image, or if it has none its question, is in an evaluation set"
                           " (needs `contamination:`)"),
    "contaminated_question": Column("contamination", "coalesce(c.same_question, false)", "BOOLEAN",
                                    "and that set asks the same question"),
    "train_loss": Column("loss", "l.train_loss", "DOUBLE",
                         "nats per trained token in the last epoch of `losses:`, the mean over runs; or null"),
    "train_loss_first": Column("loss", "l.train_loss_first", "DOUBLE",
                               "the same in the first epoch: learnt late, or never, are rows where it hardly fell"),
}  # fmt: skip
_JOINS = {
    "path": "LEFT JOIN paths p ON p.path = i.path",
    "image": "LEFT JOIN images s ON s.image_key = i.image_key",
    "score": "LEFT JOIN scores z ON z.image_key = i.image_key",
    "text": "LEFT JOIN texts t ON t.sample_id = r.sample_id",
    "duplicate": "LEFT JOIN duplicates d ON d.position = r.position",
    "contamination": "LEFT JOIN contaminations c ON c.sample_id = r.sample_id",
    "loss": "LEFT JOIN losses l ON l.sample_id = r.sample_id",
}
# (sample_id, benchmark, …): the closest match of a sample speaks for it.
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


def column_types(scores: tuple[str, ...] = ()) -> dict[str, str]:
    """Column name → DuckDB type."""
    return {name: column.type for name, column in known_columns(scores).items()}


def create_views(connection: duckdb.DuckDBPyConnection, workspace: Workspace, losses: Sequence[Path] = ()) -> None:
    """Name the files as views: rows, paths, images, texts, duplicates, contaminations, losses."""

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


def create_facts(connection: duckdb.DuckDBPyConnection, columns: Iterable[str], where: str = "true") -> None:
    """Create the table ``facts``: position, image_no (from 1, 0 for text-only rows) and the given columns.

    Args:
        columns: names of ``known_columns``.
        where: condition on the view ``rows`` (alias r); ours, never the user's.
    """
    scores = connection.table("scores").columns[1:]
    known = known_columns(tuple(name for name in scores if name not in ZERO_SHOT.columns))
    wanted = {name: known[name] for name in columns}
    tables = {column.table for column in wanted.values()} - {"rows"}
    selected = "".join(f', {column.sql} AS "{name}"' for name, column in wanted.items())
    connection.execute(f"""
        CREATE TABLE facts AS
        SELECT r.position, coalesce(i.image_no, 0) AS image_no{selected}
        FROM rows r
        LEFT JOIN (
            SELECT position, unnest(images) AS path, unnest(image_keys) AS image_key,
                   generate_subscripts(images, 1) AS image_no
            FROM rows r WHERE {where}
        ) i ON i.position = r.position
        {" ".join(join for table, join in _JOINS.items() if table in tables)}
        WHERE {where}
    """)
