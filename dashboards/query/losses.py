"""The loss of every training row, in memory: which sources are hard, and which rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboards.query.catalog import Folder
from dashboards.query.codes import coded
from dashboards.query.engine import Connection, fetch, fetch_table
from dashboards.query.training import LOSSES
from evalsuite.statistics import Property


@dataclass(frozen=True)
class Loss:
    """Loss of one training row: mean nats per trained token, in its first and its last epoch."""

    sample_id: str
    source: str
    first: float
    last: float
    tokens: int


@dataclass(frozen=True)
class SourceLoss:
    """Losses of the rows of one source in its last epoch: how many rows, mean, median, 95th percentile."""

    source: str
    rows: int
    mean: float
    median: float
    p95: float


@dataclass(frozen=True)
class RowLosses:
    """The trained rows, the highest last loss first; equal losses in order of the file.

    Attributes:
        place: (rows,) a row of the file that names the sample.
        first, last: (rows,) losses in the first and the last epoch; tokens: (rows,) trained in all epochs.
    """

    place: NDArray[np.int64]
    source: Property
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    tokens: NDArray[np.int64]

    def of(self, source: str) -> NDArray[np.int64]:
        """Which rows belong to a source; '' takes all."""
        if not source:
            return np.arange(len(self.place))
        code = self.source.values.index(source) if source in self.source.values else -1
        return np.flatnonzero(self.source.codes == code)


def read_losses(connection: Connection, folder: Folder) -> RowLosses:
    """Read a run's losses once; raises UserError for a broken table."""
    # A hash stands for the id, which makes grouping twice as fast: two of a million ids share
    # one in a run of forty million.
    sql = """
        SELECT min(file_row_number) AS place, any_value(source) AS source,
               arg_min(loss, stage * 1000000000::BIGINT + epoch)::DOUBLE AS first,
               arg_max(loss, stage * 1000000000::BIGINT + epoch)::DOUBLE AS last, sum(tokens)::BIGINT AS tokens
        FROM read_parquet(?, file_row_number = true) GROUP BY hash(sample_id)"""
    found = fetch_table(connection, sql, [folder.file(LOSSES)])
    place, last = found["place"].to_numpy(), found["last"].to_numpy()
    order = np.lexsort((place, -last))
    source = coded(found["source"])
    return RowLosses(
        place[order], Property(source.values, source.codes[order]), found["first"].to_numpy()[order], last[order],
        found["tokens"].to_numpy()[order],
    )  # fmt: skip


def highest(
    connection: Connection, folder: Folder, losses: RowLosses, source: str, offset: int, count: int
) -> list[Loss]:
    """A page of the rows with the highest last loss; raises UserError for a broken table.

    Args:
        source: '' takes all.
    """
    rows = losses.of(source)[offset : offset + count]
    sql = """
        SELECT file_row_number AS place, sample_id FROM read_parquet(?, file_row_number = true)
        WHERE file_row_number IN (SELECT unnest(?))"""
    named = fetch(connection, sql, [folder.file(LOSSES), losses.place[rows].tolist()])
    ids = {row["place"]: row["sample_id"] for row in named}
    return [
        Loss(
            ids[int(losses.place[row])], losses.source.values[losses.source.codes[row]], float(losses.first[row]),
            float(losses.last[row]), int(losses.tokens[row]),
        )
        for row in rows
    ]  # fmt: skip


def by_source(losses: RowLosses) -> list[SourceLoss]:
    """Losses per source, the hardest source first."""
    found = []
    for code, source in enumerate(losses.source.values):
        last = losses.last[losses.source.codes == code]
        median, p95 = np.quantile(last, [0.5, 0.95])
        found.append(SourceLoss(source, len(last), float(last.mean()), float(median), float(p95)))
    return sorted(found, key=lambda one: (-one.mean, one.source))
