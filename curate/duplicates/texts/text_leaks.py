"""Rows that ask what an evaluation set asks and give its answer, whatever image they show.

The image of a leaked row may be stored in a way that no hash sees, or may be missing; its text is the same all the
same. "What is this? A dog." is asked everywhere and gives nothing away, so a question counts only if it is long enough
and rare: few rows of the training set ask it, and few of the evaluation set. Rows are flagged, never dropped by
default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.texts.shingles import read_shingles, words_of
from curate.duplicates.texts.similar_pairs import similar_pairs
from curate.settings.copies import TextLeakSettings
from curate.views import TEXT_LEAKS
from curate.workspace import Workspace
from winnow.parquet.tables import database, literal, query_batches, write_parquet

VERSION = 2
# Each question that may be a leak; those of the evaluation set come first.
_ASKED = """
    CREATE TABLE {name} AS
    SELECT question_key, row_number() OVER (ORDER BY first) - 1 AS number FROM (
        SELECT question_key, min(position) AS first FROM {rows}
        WHERE bad_row IS NULL AND question_key <> ''
        GROUP BY question_key HAVING count(*) <= {most_rows}
    )
"""
_MATCHED = """
    SELECT r.position, {benchmark} AS benchmark, r.sample_id,
           arg_min(e.sample_id, (-p.similarity, e.position)) AS evaluation, max(p.similarity) AS similarity
    FROM alike p
    JOIN ours o ON o.number = p.ours JOIN {rows} r ON r.question_key = o.question_key AND r.bad_row IS NULL
    JOIN theirs t ON t.number = p.theirs
    JOIN {evaluated} e ON e.question_key = t.question_key AND e.bad_row IS NULL AND e.answer_key = r.answer_key
    GROUP BY ALL ORDER BY r.position
"""


def find_text_leaks(
    workspace: Workspace, evaluations: Sequence[tuple[str, Workspace]], settings: TextLeakSettings
) -> None:
    """Write ``workspace.text_leaks``: per benchmark, each row with a question and answer of it.

    Args:
        evaluations: name and workspace of each evaluation set, with its corrected rows.
    """
    found = (batch for name, other in evaluations for batch in _against(workspace, name, other, settings))
    write_parquet(workspace.text_leaks, found, TEXT_LEAKS)


def _against(
    workspace: Workspace, benchmark: str, other: Workspace, settings: TextLeakSettings
) -> Iterator[pa.RecordBatch]:
    rows, evaluated = workspace.corrected.sql(), other.corrected.sql()
    with database(workspace.work) as connection:
        for name, table in (("theirs", evaluated), ("ours", rows)):
            connection.execute(_ASKED.format(name=name, rows=table, most_rows=settings.most_rows))
        connection.register("alike", _alike(connection, workspace.work / "questions.u8", settings))
        query = _MATCHED.format(benchmark=literal(benchmark), rows=rows, evaluated=evaluated)
        yield from query_batches(connection, f"SELECT * EXCLUDE (position) FROM ({query})")


def _alike(connection: duckdb.DuckDBPyConnection, scratch: Path, settings: TextLeakSettings) -> pa.Table:
    """Numbers of questions that are equal or alike: theirs, ours, similarity."""
    numbers: dict[str, list[int]] = {"theirs": [], "ours": []}

    def questions() -> Iterator[list[str]]:
        for name, kept in numbers.items():
            for batch in query_batches(connection, f"SELECT number, question_key FROM {name} ORDER BY number"):
                for number, text in zip(batch["number"].to_pylist(), batch["question_key"].to_pylist(), strict=True):
                    words = words_of(text)
                    if len(words) >= settings.min_words:
                        kept.append(number)
                        yield words

    shingles = read_shingles(questions(), scratch)
    pairs = similar_pairs(shingles, settings.threshold, left=len(numbers["theirs"]))
    scratch.unlink()
    theirs, ours = np.array(numbers["theirs"], np.int64), np.array(numbers["ours"], np.int64)
    # Equal questions are not left to chance: in a bucket that one template fills, not all are compared.
    equal = connection.execute(
        "SELECT t.number AS theirs, o.number AS ours FROM theirs t JOIN ours o USING (question_key) ORDER BY ALL"
    ).fetchnumpy()
    long_enough = np.isin(equal["theirs"], theirs)
    return pa.table(
        {
            "theirs": np.concatenate([theirs[pairs.i], equal["theirs"][long_enough]]),
            "ours": np.concatenate([ours[pairs.j - len(theirs)], equal["ours"][long_enough]]),
            "similarity": np.concatenate([pairs.jaccard, np.ones(np.count_nonzero(long_enough))]),
        }
    )
