"""Rows whose question, answer, or both together are nearly the text of another row (``similar_texts:``).

Texts are compared in the form in which two of them count as equal (``winnow.records.normalized``). Equal texts are one:
a question that stands in 100,000 rows is compared once. Texts of few words are left out, since "yes" is no copy of
"yes". Every group has a first row, in the order of the input, and its text stands for the group: the others are alike
*it*, so groups do not chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.texts.shingles import read_shingles, similar_pairs, text_stars, words_of
from curate.settings.copies import TextField, TextSettings
from curate.views import OF_TEXTS, SIMILAR_TEXTS, TEXT_FIELDS
from curate.workspace import Workspace
from winnow.tables import database, query_batches, write_parquet

VERSION = 2
# How a field is read from a row; a caption is the answer.
TEXT_SQL: dict[TextField, str] = {
    "question": "question_key",
    "answer": "answer_key",
    "row": "concat_ws(chr(10), question_key, answer_key)",
}
# Texts by their first row: ``digest`` stands for the text.
_TEXTS = """
    CREATE TABLE texts AS
    SELECT min(position) AS first, digest, any_value(text) AS text FROM (
        SELECT position, {text} AS text, md5_number({text}) AS digest FROM {rows} WHERE bad_row IS NULL
    ) GROUP BY digest
"""
_CLUSTERED = """
    CREATE TABLE {field} AS
    SELECT position, f.sample_id AS cluster, count(*) OVER w AS cluster_size,
           row_number() OVER (w ORDER BY position) AS cluster_place, similarity
    FROM (
        SELECT r.position, s.star, s.similarity FROM {rows} r
        JOIN texts t ON t.digest = md5_number({text}) JOIN stars s ON s.first = t.first WHERE r.bad_row IS NULL
    ) m JOIN (SELECT position AS star, sample_id FROM {rows}) f USING (star)
    WINDOW w AS (PARTITION BY star)
    QUALIFY count(*) OVER w > 1
"""


def find_similar_texts(workspace: Workspace, settings: TextSettings) -> None:
    """Write ``workspace.similar_texts``: the rows of every group of two and more, in input order.

    Raises:
        UserError: a file cannot be written.
    """
    rows = workspace.corrected.sql()
    with database(workspace.work) as connection:
        for field in settings.of:
            connection.execute(_TEXTS.format(text=TEXT_SQL[field], rows=rows))
            stars = _stars(connection, workspace, settings)
            connection.register("stars", stars)
            connection.execute(_CLUSTERED.format(field=f'"similar {field}"', text=TEXT_SQL[field], rows=rows))
            connection.unregister("stars")
            connection.execute("DROP TABLE texts")
        write_parquet(workspace.similar_texts, query_batches(connection, _joined(settings.of)), SIMILAR_TEXTS)


def _joined(fields: Sequence[TextField]) -> str:
    chosen = [
        f'"similar {field}"."{name}" AS "{field}_{name}"'
        if field in fields
        else f'CAST(NULL AS {"VARCHAR" if kind == pa.string() else "DOUBLE"}) AS "{field}_{name}"'
        for field in TEXT_FIELDS
        for name, kind in OF_TEXTS.items()
    ]
    positions = " UNION ".join(f'SELECT position FROM "similar {field}"' for field in fields)
    joins = " ".join(f'LEFT JOIN "similar {field}" USING (position)' for field in fields)
    return f"SELECT position, {', '.join(chosen)} FROM ({positions}) {joins} ORDER BY position"


def _stars(connection: duckdb.DuckDBPyConnection, workspace: Workspace, settings: TextSettings) -> pa.Table:
    """For each text that is long enough (by its first row): the first row of the text that stands for it."""
    first: list[int] = []

    def long_enough() -> Iterator[list[str]]:
        for batch in query_batches(connection, "SELECT first, text FROM texts ORDER BY first"):
            for position, text in zip(batch["first"].to_pylist(), batch["text"].to_pylist(), strict=True):
                words = words_of(text)
                if len(words) >= settings.min_words:
                    first.append(position)
                    yield words

    scratch = workspace.work / "shingles.u8"
    shingles = read_shingles(long_enough(), scratch)
    pairs = similar_pairs(shingles, settings.threshold)
    star, similarity = text_stars(pairs, shingles, settings.threshold)
    scratch.unlink()
    firsts = np.array(first, np.int64)
    return pa.table({"first": firsts, "star": firsts[star], "similarity": similarity})
