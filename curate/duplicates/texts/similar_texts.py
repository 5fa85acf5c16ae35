"""Rows whose question, answer, or both together are nearly the text of another row (``similar_texts:``).

Texts are compared in the form in which two of them count as equal (``winnow.rows.keys.normalized``). Equal texts are
one: a question that stands in 100,000 rows is compared once. Texts of few words are left out, since "yes" is no copy of
"yes". Every group has a first row, in the order of the input, and its text stands for the group: the others are alike
*it*, so groups do not chain.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.texts.kept_pairs import kept_pairs
from curate.duplicates.texts.similar_pairs import text_stars
from curate.duplicates.texts.text_keys import read_texts, write_text_keys
from curate.settings.copies import TextField, TextSettings
from curate.views import OF_TEXTS, SIMILAR_TEXTS, TEXT_FIELDS
from curate.workspace import Workspace
from winnow.parquet.table_parts import Parts, Runner, run_here
from winnow.parquet.tables import database, query_batches, write_parquet

VERSION = 2
# Texts by their first row.
_TEXTS = "SELECT min(position) AS first, high, low FROM {keys} WHERE high IS NOT NULL GROUP BY high, low ORDER BY first"
_CLUSTERED = """
    CREATE TABLE {field} AS
    SELECT position, f.sample_id AS cluster, count(*) OVER w AS cluster_size,
           row_number() OVER (w ORDER BY position) AS cluster_place, similarity
    FROM (
        SELECT k.position, s.star, s.similarity FROM {keys} k JOIN stars s ON s.high = k.high AND s.low = k.low
    ) m JOIN (SELECT position AS star, sample_id FROM {rows}) f USING (star)
    WINDOW w AS (PARTITION BY star)
    QUALIFY count(*) OVER w > 1
"""


def find_similar_texts(workspace: Workspace, settings: TextSettings, runner: Runner = run_here) -> None:
    """Write ``workspace.similar_texts``: the rows of every group of two and more, in input order.

    Args:
        runner: makes what is kept of each part of the rows.

    Raises:
        UserError: a file cannot be written.
    """
    rows = workspace.corrected.sql()
    with database(workspace.work) as connection:
        for field in settings.of:
            keys = write_text_keys(workspace, field, settings, runner)
            connection.register("stars", _stars(connection, workspace, keys, field, settings.threshold))
            connection.execute(_CLUSTERED.format(field=f'"similar {field}"', keys=keys.sql(), rows=rows))
            connection.unregister("stars")
        write_parquet(workspace.similar_texts, query_batches(connection, _joined(settings.of)), SIMILAR_TEXTS)
    for field in set(TEXT_FIELDS) - {*settings.of}:
        forget_texts(workspace, field)


def forget_texts(workspace: Workspace, field: TextField) -> None:
    """Remove what is kept of a field's texts."""
    shutil.rmtree(workspace.text_keys / field, ignore_errors=True)
    _pairs_file(workspace, field).unlink(missing_ok=True)


def _pairs_file(workspace: Workspace, field: TextField) -> Path:
    return workspace.text_pairs / f"{field}.arrow"


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


def _stars(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, keys: Parts, field: TextField, threshold: float
) -> pa.Table:
    """For each text: the first row of the text that stands for it."""
    texts = connection.sql(_TEXTS.format(keys=keys.sql())).to_arrow_table()
    first, *halves = (texts[name].to_numpy() for name in ("first", "high", "low"))
    scratch = workspace.work / "shingles.u8"
    shingles, signatures = read_texts(keys, first, threshold, scratch)
    pairs = kept_pairs(_pairs_file(workspace, field), np.stack(halves), shingles, signatures, threshold)
    star, similarity = text_stars(pairs, shingles, threshold)
    scratch.unlink()
    return pa.table({"high": texts["high"], "low": texts["low"], "star": first[star], "similarity": similarity})
