"""The columns that a rule may use, and the table that holds them: one row per sample and image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import duckdb

from curate.measure.store import image_schema
from curate.measure.texts import TEXT_SCHEMA
from curate.rules.expression import quoted
from curate.rules.meta import is_meta, read_types, value_sql
from curate.rules.setwide import asked_column, constant_sql
from curate.signals import describe
from curate.signals.clip import ZERO_SHOT
from winnow.errors import UserError

_SQL_TYPES = {
    "string": "VARCHAR", "bool": "BOOLEAN", "int32": "INTEGER", "int64": "BIGINT", "uint64": "UBIGINT",
    "double": "DOUBLE",
}  # fmt: skip
# Stored columns that no rule can use, or that are read from another table.
_NOT_OF_IMAGES = {"image_key", "path", "error", "error_detail", "thumbnail", "clip_embedding"}
_NOT_OF_TEXTS = {"sample_id", "clip_alignments"}
_FILE_COLUMNS = {
    "bytes": "size of the file in bytes",
    "format": "JPEG, PNG, … by its content",
    "width": "pixels, after EXIF orientation",
    "height": "pixels, after EXIF orientation",
    "mode": "Pillow's mode of the file: RGB, L, P, CMYK, …",
    "frames": "number of frames; above 1 is an animation",
    "exif_orientation": "1-8, null without the tag",
}


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
        "error_detail": Column("path", "p.error_detail", "VARCHAR", "the decoder's message"),
    }
    for table, alias, schema, left_out in (
        ("image", "s", image_schema(None, {}), _NOT_OF_IMAGES),
        ("text", "t", TEXT_SCHEMA, _NOT_OF_TEXTS),
    ):
        for field in schema:
            if field.name not in left_out:
                sql_type = _SQL_TYPES[str(field.type)]
                found[field.name] = Column(table, f'{alias}."{field.name}"', sql_type, about.get(field.name, ""))
    found.update(_ROW_COLUMNS | _FOUND_COLUMNS)
    if clash := next((name for name in scores if name in found), None):
        raise UserError(f"signals: {clash!r} is the name of another column; give the prompt set or head another name")
    for name in dict.fromkeys([*ZERO_SHOT.columns, *scores]):
        meaning = ZERO_SHOT.columns.get(name, "0–1: a prompt set or head of the recipe")
        found[name] = Column("score", f'z."{name}"', "DOUBLE", meaning)
    return found


# Beside the columns: what a rule may also use.
FORMS = {
    "meta.<key>": "a field of the rows that has no column, typed by its values; meta.a.b, meta.\"a b\", len(meta.list)",
    "quantile(column, 0.05)": "of the column over the whole set, as in `sharpness < quantile(sharpness, 0.05)`",
    "keep: top 30% BY column": "in place of `when:`; takes all but the best rows (or `top 1000 BY column`)",
    "keep: at most 3 BY column, …": "in place of `when:`; takes what is too much of a group, judged last; add"
                                    " `ORDER BY column DESC` to keep the best ones",
}  # fmt: skip
_ROW_COLUMNS = {
    "path": Column("rows", "i.path", "VARCHAR", "of the image, below the image root"),
    "image_key": Column("rows", "i.image_key", "VARCHAR", "SHA-256 of the image's bytes; null if it cannot be read"),
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


def column_types(scores: tuple[str, ...] = ()) -> dict[str, str]:
    """Column name → DuckDB type."""
    return {name: column.type for name, column in known_columns(scores).items()}


def create_facts(connection: duckdb.DuckDBPyConnection, columns: Iterable[str], where: str = "true") -> None:
    """Create the table ``facts``: position, image_no (from 1, 0 for text-only rows) and the given columns.

    Args:
        columns: names of ``known_columns``, keys of ``meta`` and set-wide columns (``curate.rules.setwide``).
        where: condition on the view ``rows`` (alias r); ours, never the user's.

    Raises:
        UserError: no row has a key of ``meta``, or two columns differ in case only.
    """
    names = list(columns)
    by_case: dict[str, str] = {}
    for name in names:
        if by_case.setdefault(name.lower(), name) != name:
            raise UserError(f"rules: {by_case[name.lower()]} and {name} differ in case only; rules can use one of them")
    wanted = _columns(connection, names)
    connection.execute(f"CREATE TABLE facts AS {_facts_sql(wanted, where)}")


def _columns(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, Column]:
    scores = connection.table("scores").columns[1:]
    known = dict(known_columns(tuple(name for name in scores if name not in ZERO_SHOT.columns)))
    asked = {name: asked_column(name) for name in names if name not in known and not is_meta(name)}
    keys = {name for name in (*names, *asked.values()) if name and is_meta(name)}
    types = read_types(connection, sorted(keys))
    known |= {name: Column("rows", value_sql(name, kind), kind, "") for name, kind in types.items()}
    for column in {column for column in asked.values() if column}:
        values = {"sample_id": known["sample_id"], "value": _as_double(known[column])}
        connection.execute(f"CREATE OR REPLACE TABLE known_values AS {_facts_sql(values, 'r.bad_row IS NULL')}")
        for name in [name for name in asked if asked[name] == column]:
            sql, kind = constant_sql(connection, name, "known_values")
            known[name] = Column("rows", sql, kind, "")
    connection.execute("DROP TABLE IF EXISTS known_values")
    return {name: known[name] for name in names}


def _as_double(column: Column) -> Column:
    return replace(column, sql=f"TRY_CAST({column.sql} AS DOUBLE)", type="DOUBLE")


def _facts_sql(wanted: Mapping[str, Column], where: str) -> str:
    tables = {column.table for column in wanted.values()} - {"rows"}
    selected = "".join(f", {column.sql} AS {quoted(name)}" for name, column in wanted.items())
    return f"""
        SELECT r.position, coalesce(i.image_no, 0) AS image_no{selected}
        FROM rows r
        LEFT JOIN (
            SELECT position, unnest(images) AS path, unnest(image_keys) AS image_key,
                   generate_subscripts(images, 1) AS image_no
            FROM rows r WHERE {where}
        ) i ON i.position = r.position
        {" ".join(join for table, join in _JOINS.items() if table in tables)}
        WHERE {where}
    """
