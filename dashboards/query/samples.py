"""One sample: what every run said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curate.errors import UserError
from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection
from dashboards.query.failures import Answer, answers_of
from dashboards.query.tables import open_predictions


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
