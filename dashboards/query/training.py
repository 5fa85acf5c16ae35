"""Loss curves of training runs: over steps, and over epochs by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.query.catalog import Folder, manifest_of
from dashboards.query.engine import Connection, fetch

_POINTS = 600


@dataclass(frozen=True)
class LossPoint:
    """Mean loss (nats per trained token) of the logged steps that fall on one point of the curve.

    ``step`` counts on over the stages; in the file each stage starts anew.
    """

    stage: str
    step: int
    epoch: float
    loss: float


def loss_curve(connection: Connection, folder: Folder) -> list[LossPoint]:
    """The curve of ``metrics.jsonl``, averaged down to at most 600 points a stage.

    Raises:
        UserError: the file is unreadable.
    """
    rows = fetch(
        connection,
        """
        WITH logged AS (
            SELECT coalesce(stage, 0) AS stage, step, epoch, loss
            FROM read_json(?, format = 'newline_delimited', ignore_errors = true,
                columns = {stage: 'BIGINT', step: 'BIGINT', epoch: 'DOUBLE', loss: 'DOUBLE'})
            WHERE step IS NOT NULL AND loss IS NOT NULL AND isfinite(loss)),
        placed AS (SELECT *, step * ? // (max(step) OVER (PARTITION BY stage) + 1) AS point FROM logged)
        SELECT stage, max(step) AS step, max(epoch) AS epoch, avg(loss) AS loss FROM placed
        GROUP BY stage, point ORDER BY stage, step""",
        [folder.file("metrics.jsonl"), _POINTS],
    )
    points: list[LossPoint] = []
    current, before = None, 0
    for row in rows:
        if row["stage"] != current:
            current, before = row["stage"], points[-1].step if points else 0
        name = _stage_name(manifest_of(folder), row["stage"])
        points.append(LossPoint(name, before + row["step"], row["epoch"] or 0.0, row["loss"]))
    return points


def _stage_name(manifest: Mapping[str, Any], number: int) -> str:
    """The recipe's name of a stage, or its number from 1."""
    recipe = manifest.get("recipe")
    stages = recipe.get("stages") if isinstance(recipe, Mapping) else None
    stage = stages[number] if isinstance(stages, list) and 0 <= number < len(stages) else None
    name = stage.get("name") if isinstance(stage, Mapping) else None
    return name if isinstance(name, str) and name else f"stage {number + 1}"


@dataclass(frozen=True)
class EpochLoss:
    """Mean loss of a source's rows in one epoch; epochs count from 1 on over the stages."""

    source: str
    epoch: int
    mean: float
    rows: int


LOSSES = "losses.parquet"


def losses_over_epochs(connection: Connection, folder: Folder) -> list[EpochLoss]:
    """Mean loss per source and epoch, in order of epochs; raises UserError for a broken table."""
    sql = """
        SELECT source, dense_rank() OVER (ORDER BY stage, epoch) AS epoch, mean, rows FROM (
            SELECT source, stage, epoch, avg(loss) AS mean, count(*) AS rows FROM read_parquet(?) GROUP BY ALL)
        ORDER BY epoch, source"""
    return [EpochLoss(**row) for row in fetch(connection, sql, [folder.file(LOSSES)])]
