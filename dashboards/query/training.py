"""Loss curves of training runs."""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection, fetch

_POINTS = 600


@dataclass(frozen=True)
class LossPoint:
    """Mean loss (nats per trained token) of the logged steps that fall on one point of the curve."""

    step: int
    epoch: float
    loss: float


def loss_curve(connection: Connection, folder: Folder) -> list[LossPoint]:
    """The curve of ``metrics.jsonl``, averaged down to at most 600 points.

    Raises:
        UserError: the file is unreadable.
    """
    rows = fetch(
        connection,
        """
        WITH logged AS (
            SELECT step, epoch, loss FROM read_json(?, format = 'newline_delimited', ignore_errors = true,
                columns = {step: 'BIGINT', epoch: 'DOUBLE', loss: 'DOUBLE'})
            WHERE step IS NOT NULL AND loss IS NOT NULL AND isfinite(loss))
        SELECT max(step) AS step, max(epoch) AS epoch, avg(loss) AS loss FROM logged
        GROUP BY step * ? // (SELECT max(step) + 1 FROM logged) ORDER BY 1""",
        [folder.file("metrics.jsonl"), _POINTS],
    )
    return [LossPoint(row["step"], row["epoch"] or 0.0, row["loss"]) for row in rows]
