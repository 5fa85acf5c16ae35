"""One sample: what every run said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection, fetch
from dashboards.query.failures import Answer, answers_of
from dashboards.query.tables import Predictions, open_predictions
from winnow.errors import UserError


@dataclass(frozen=True)
class Said:
    """What one run answered; ``problem`` instead of an answer when its table cannot be read."""

    run: Folder
    answer: Answer | None
    problem: str = ""


def answers_of_all(connection: Connection, runs: Sequence[Folder], sample_id: str) -> list[Said]:
    """The answers of every run that was asked this sample, in the order of ``runs``."""
    found = []
    for run in runs:
        try:
            table = open_predictions(connection, run.file("predictions.parquet"))
            found += [Said(run, answer) for answer in answers_of(connection, table, sample_id)]
        except UserError as error:
            found.append(Said(run, None, str(error)))
    return found


@dataclass(frozen=True)
class Touched:
    """What two runs said about one row, and whether that was right (None: no such verdict)."""

    sample_id: str
    question: str
    references: tuple[str, ...]
    said_before: str
    before: bool | None
    said_now: str
    now: bool | None


def touched(connection: Connection, run: Predictions, base: Predictions, ids: Sequence[str]) -> list[Touched]:
    """The rows with these ids that both runs answered, in the order of ``ids``; raises UserError for a broken table."""
    sql = f"""
        SELECT a.sample_id, a.question, a."references" AS "references", coalesce(b.extracted, b.raw, '') AS said_before,
               b.correct AS before, coalesce(a.extracted, a.raw, '') AS said_now, a.correct AS now
        FROM (SELECT *, {run.correct_sql()} AS correct FROM read_parquet(?)) a
        JOIN (SELECT *, {base.correct_sql()} AS correct FROM read_parquet(?)) b USING (sample_id, task)
        WHERE a.sample_id IN (SELECT unnest(?))"""
    order = {sample_id: place for place, sample_id in enumerate(ids)}
    rows = fetch(connection, sql, [run.path, base.path, list(ids)])
    rows.sort(key=lambda row: order[row["sample_id"]])
    return [Touched(**row | {"references": tuple(row["references"] or ())}) for row in rows]
