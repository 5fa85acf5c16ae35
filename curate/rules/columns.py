"""The columns that a rule may use, and the table that holds them: one row per sample and image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import duckdb

from curate.measure.store import image_schema
from curate.measure.texts import TEXT_SCHEMA
from curate.rules.expression import quoted
from curate.rules.meta import is_meta, read_types, value_sql
from curate.rules.setwide import asked_column, constant_sql, number_sql
from curate.signals import IMAGE_MODELS, SIGNALS, describe
from curate.signals.clip import ZERO_SHOT
from winnow.errors import UserError

_SQL_TYPES = {
    "string": "VARCHAR", "bool": "BOOLEAN", "int32": "INTEGER", "int64": "BIGINT", "uint64": "UBIGINT",
    "double": "DOUBLE",
}  # fmt: skip
# Stored columns that no rule can use, or that are read from another table.
_NOT_OF_IMAGES = {
    "image_key",
    "path",
    "error",
    "error_detail",
    "thumbnail",
    "look",
    "keypoints",
    "like_paper",
    "clip_embedding",
}
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
        table: where it comes from: rows, path, image, score, text, duplicate, semantic, contamination, similar, leak,
            loss, answer or one of ``IMAGE_MODELS``.
        sql: how it is read there.
        type: its DuckDB type.
        about: meaning, unit, range.
        validated: of a column that guesses what an image or text shows, the labelled data that it was tried on with
            the figures, or None: not validated; '' for facts.
    """

    table: str
    sql: str
    type: str
    about: str
    validated: str | None = ""

    @property
    def meaning(self) -> str:
        """What it is, and whether it is validated."""
        if self.validated is None:
            return f"{self.about}. NOT VALIDATED"
        return f"{self.about}. Validated: {self.validated}" if self.validated else self.about


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
    for name, model in IMAGE_MODELS.items():
        for column, meaning in model.columns.items():
            if kind := _SQL_TYPES.get(str(model.types[column])):
                tried = model.validated.get(column, "")
                found[column] = Column(name, f'{name}."{column}"', kind, meaning, tried)
    found.update(_ROW_COLUMNS | _FOUND_COLUMNS)
    if clash := next((name for name in scores if name in found), None):
        raise UserError(f"signals: {clash!r} is the name of another column; give the prompt set or head another name")
    for name in dict.fromkeys([*ZERO_SHOT.columns, *scores]):
        meaning = ZERO_SHOT.columns.get(name, "a prompt set (0–1) or a head of the recipe")
        found[name] = Column("score", f'z."{name}"', "DOUBLE", meaning, validated=None)
    for signal in SIGNALS.values():
        for name in signal.validated.keys() & found.keys():
            found[name] = replace(found[name], validated=signal.validated[name])
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
    "path": Column("rows", "r.path", "VARCHAR", "of the image, below the image root"),
    "image_key": Column("rows", "r.image_key", "VARCHAR", "SHA-256 of the image's bytes; null if it cannot be read"),
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
    abs(sqrt(s.width) * sqrt(s.height) - {middle}) / {unit}, 1) END"""
_SIMILAR = {
    "cluster": ("VARCHAR", "id of the first row with nearly this {text}; null if no other row has it, or it is too"
                           " short (needs `similar_texts:`)"),
    "cluster_size": ("BIGINT", "rows with nearly this {text}; null as above"),
    "cluster_place": ("BIGINT", "which of them it is, 1 the first in input order; null as above"),
    "similarity": ("DOUBLE", "0–1: Jaccard index of its {text} with that of the first; 1 is equal; null as above"),
}  # fmt: skip
_FOUND_COLUMNS = {
    "itm": Column("itm", "q.itm", "DOUBLE", SIGNALS["itm"].columns["itm"]),
    "odd_size_score": Column("image", _ODD_SIZE, "DOUBLE",
                             "0–1: CleanVision's odd_size, which compares √(width × height) with the whole set's"),
    "duplicate": Column("duplicate", "d.duplicate_of IS NOT NULL", "BOOLEAN",
                        "an equal row about a near-identical image is kept in its place (needs `duplicates:`)"),
    "edited_copy": Column("duplicate", "d.edited_copy_of IS NOT NULL", "BOOLEAN",
                          "no duplicate, but an equal row about the picture that its image is an edited copy of is in"
                          " the set (needs `duplicates:`, whose `kinds:` say which edits)"),
    "duplicate_kind": Column("duplicate", "d.kind", "VARCHAR",
                             "of a duplicate or edited copy: exact, re-encoded, resized, toned, brighter, cropped,"
                             " framed, overlaid, mirrored, turned"),
    "duplicate_strength": Column("duplicate", "d.strength", "DOUBLE",
                                 "0–1: how alike the two images are once the edit is undone"),
    "duplicate_distance": Column("duplicate", "d.distance", "DOUBLE",
                                 "0-255: mean difference of the two thumbnails; null unless it is a duplicate"),
    "conflicting": Column("duplicate", "d.conflict_with IS NOT NULL", "BOOLEAN",
                          "a near-identical image has the same question with another answer (needs `duplicates:`)"),
    "semantic_cluster": Column("semantic", "m.semantic_cluster", "VARCHAR",
                               "image_key of the picture that leads its cluster by embedding (needs `semantic:`)"),
    "semantic_cluster_size": Column("semantic", "m.semantic_cluster_size", "BIGINT", "pictures in that cluster"),
    "semantic_place": Column("semantic", "m.semantic_place", "BIGINT",
                             "its place in the cluster, 1 for the picture of most pixels, which leads"),
    "semantic_similarity": Column("semantic", "m.semantic_similarity", "DOUBLE",
                                  "cosine of its embedding to that of the picture that leads; 1 for that one"),
    "contaminated": Column("contamination", "coalesce(c.contaminated, false)", "BOOLEAN",
                           "its image, or if it has none its question, is in an evaluation set"
                           " (needs `contamination:`)"),
    "contaminated_question": Column("contamination", "coalesce(c.same_question, false)", "BOOLEAN",
                                    "and that set asks the same question"),
    "contaminated_text": Column("leak", "k.sample_id IS NOT NULL", "BOOLEAN",
                                "an evaluation set has its question, or nearly, and its answer, whatever the image"
                                " (needs `contamination:`)"),
    "contaminated_text_similarity": Column("leak", "k.similarity", "DOUBLE",
                                           "0–1: Jaccard index of the two questions; null unless contaminated_text"),
    **{
        f"{field}_{name}": Column("similar", f'x."{field}_{name}"', kind, about.format(text=text))
        for field, text in {"question": "question", "answer": "answer", "row": "question and answer"}.items()
        for name, (kind, about) in _SIMILAR.items()
    },
    "leak_suspected": Column("contamination", "NOT coalesce(c.contaminated, true)", "BOOLEAN",
                             "not contaminated, but its image is a copy of one in an evaluation set, of a kind that"
                             " only flags (needs `contamination:`)"),
    "contaminated_kind": Column("contamination", "c.kind", "VARCHAR",
                                "of either: as duplicate_kind; question for a row without images"),
    "contamination_strength": Column("contamination", "c.strength", "DOUBLE",
                                     "0–1: how alike the two images are once the edit is undone"),
    "train_loss": Column("loss", "l.train_loss", "DOUBLE",
                         "nats per trained token in the last epoch of `losses:`, the mean over runs; or null"),
    "train_loss_first": Column("loss", "l.train_loss_first", "DOUBLE",
                               "the same in the first epoch: learnt late, or never, are rows where it hardly fell"),
    "train_loss_mean": Column("loss", "l.train_loss_mean", "DOUBLE",
                              "the mean over epochs, in place of the area under the margin (Pleiss et al. 2020),"
                              " which needs the losses of other answers"),
    "epoch_learned": Column("loss", "l.epoch_learned", "DOUBLE",
                            "from 1: the first epoch of `losses:` with a loss below ln 2, as likely as not; null if"
                            " none has (never learnt), or without losses"),
    "forgotten": Column("loss", "l.forgotten", "DOUBLE",
                        "how often the loss came back above ln 2 from one epoch to the next (forgetting events, Toneva"
                        " et al. 2019); the mean over runs"),
    "neighbour_confidence": Column("answer", "a.neighbour_confidence", "DOUBLE",
                                   "0–1: share of the row's answer among those about the nearest pictures with the same"
                                   " kind of question, own and copied pictures left out (needs `answers:` and"
                                   " embeddings); null for open and rare answers"),
    "model_confidence": Column("answer", "a.model_confidence", "DOUBLE",
                               "0–1: the answer's probability by a logistic model of the other rows, likewise"),
    "answer_loss": Column("answer", "a.answer_loss", "DOUBLE",
                          "nats per token of the answer in the model of `answers: gains:` (`finetune score`)"),
    "ocr_support": Column("answer", "a.ocr_support", "DOUBLE",
                          "0–1: how well the answer is found in the text of the row's pictures (needs `answers:` and"
                          " `signals: ocr`); null where it cannot be expected there",
                          validated="wrong totals and dates of 50 receipts, docs/results/receipts.md"),
    "ocr_contradiction": Column("answer", "a.ocr_contradiction", "DOUBLE",
                                "0–1: how strongly the text of the row's pictures speaks against the answer; null as"
                                " `ocr_support`",
                                validated="wrong totals and dates of 50 receipts, docs/results/receipts.md"),
    "picture_gain": Column("answer", "a.picture_gain", "DOUBLE",
                           "nats per token that the picture takes off that loss; below 0 it speaks against it"),
    "suspect": Column("answer", "a.suspect", "DOUBLE",
                      "0–1: how probable a wrong answer is by all signals that the row has (needs `answers:`); it"
                      " orders rows for review"),
    "suspect_why": Column("answer", "a.suspect_why", "VARCHAR", "the signals that speak against the answer, or null"),
}  # fmt: skip
_JOINS = {
    "path": "LEFT JOIN paths p ON p.path = r.path",
    "image": "LEFT JOIN images s ON s.image_key = r.image_key",
    "score": "LEFT JOIN scores z ON z.image_key = r.image_key",
    "text": "LEFT JOIN texts t ON t.position = r.position",
    "itm": "LEFT JOIN matches q ON q.sample_id = r.sample_id",
    "duplicate": "LEFT JOIN duplicates d ON d.position = r.position",
    "semantic": "LEFT JOIN semantics m ON m.image_key = r.image_key",
    "contamination": "LEFT JOIN contaminations c ON c.sample_id = r.sample_id",
    "similar": "LEFT JOIN similar_texts x ON x.position = r.position",
    "leak": "LEFT JOIN text_leaks k ON k.sample_id = r.sample_id",
    "loss": "LEFT JOIN losses l ON l.sample_id = r.sample_id",
    "answer": "LEFT JOIN answers a ON a.position = r.position",
    **{name: f"LEFT JOIN {name} ON {name}.image_key = r.image_key" for name in IMAGE_MODELS},
}


def column_types(scores: tuple[str, ...] = ()) -> dict[str, str]:
    """Column name → DuckDB type."""
    return {name: column.type for name, column in known_columns(scores).items()}


def create_facts(connection: duckdb.DuckDBPyConnection, columns: Iterable[str], where: str = "true") -> None:
    """Create the table ``facts``: position, image_no (from 1, 0 for text-only rows) and the given columns.

    Args:
        columns: as of ``asked_columns``.
        where: condition on the view ``rows`` (alias r); ours, never the user's.

    Raises:
        UserError: as of ``asked_columns``.
    """
    create_asked_facts(connection, asked_columns(connection, columns), where)


def create_asked_facts(
    connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Column], where: str = "true"
) -> None:
    """The same of what ``asked_columns`` has made; the views may be of some rows alone."""
    connection.execute(f"CREATE TABLE facts AS {_facts_sql(columns, where)}")


def asked_columns(connection: duckdb.DuckDBPyConnection, columns: Iterable[str]) -> dict[str, Column]:
    """What each of the columns is in this set: keys of ``meta`` have their types, set-wide columns their value.

    Args:
        connection: with the views of ``curate.views`` on all rows.
        columns: names of ``known_columns``, keys of ``meta`` and set-wide columns (``curate.rules.setwide``).

    Raises:
        UserError: no row has a key of ``meta``, or two columns differ in case only.
    """
    names = list(columns)
    by_case: dict[str, str] = {}
    for name in names:
        if by_case.setdefault(name.lower(), name) != name:
            raise UserError(f"rules: {by_case[name.lower()]} and {name} differ in case only; rules can use one of them")
    scores = connection.table("scores").columns[1:]
    known = dict(known_columns(tuple(name for name in scores if name not in ZERO_SHOT.columns)))
    asked = {name: asked_column(name) for name in names if name not in known and not is_meta(name)}
    keys = {name for name in (*names, *asked.values()) if name and is_meta(name)}
    if "odd_size_score" in (*names, *asked.values()):
        middle, unit = connection.execute("SELECT middle, unit FROM set_sizes").fetchall()[0]
        sql = _ODD_SIZE.format(middle=number_sql(middle), unit=number_sql(unit))
        known["odd_size_score"] = replace(known["odd_size_score"], sql=sql)
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
        SELECT r.position, r.image_no{selected}
        FROM (
            SELECT *, unnest(if(len(images) = 0, [NULL], images)) AS path,
                   unnest(if(len(images) = 0, [NULL], image_keys)) AS image_key,
                   unnest(if(len(images) = 0, [0], generate_series(1, len(images)))) AS image_no
            FROM rows r WHERE {where}
        ) r
        {" ".join(join for table, join in _JOINS.items() if table in tables)}
    """
