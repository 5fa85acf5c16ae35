"""What changed between two runs, on the rows that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboards.query.differences import mean_difference
from dashboards.query.engine import Connection, fetch_table, quoted
from dashboards.query.pairing import Pairing
from dashboards.query.scores import Score
from dashboards.query.tables import Predictions


@dataclass(frozen=True)
class Change:
    """Run minus baseline in one metric, on the ``n`` rows that both have.

    Attributes:
        base, run: means over these rows.
        low, high: 95% interval of the difference, paired, clustered by image; None for one image.
    """

    task: str
    metric: str
    is_share: bool
    base: float
    run: float
    difference: float
    low: float | None
    high: float | None
    n: int


def changes(
    connection: Connection, run: Predictions, base: Predictions, pairing: Pairing, scores: Sequence[Score]
) -> list[Change]:
    """The change in each of ``scores`` that is a mean over rows (BLEU is not) and that both runs have.

    Raises:
        UserError: a table is broken.
    """
    wanted = [score for score in scores if is_mean(score.metric) and score.metric in run.metrics]
    wanted = [score for score in wanted if score.metric in base.metrics]
    metrics = list(dict.fromkeys(score.metric for score in wanted))
    if not metrics:
        return []
    now, before = (_values(connection, table, metrics) for table in (run, base))
    found = [_change(pairing, before[score.metric], now[score.metric], score) for score in wanted]
    return [change for change in found if change]


def is_mean(metric: str) -> bool:
    """Whether a corpus score is the mean of its rows' scores."""
    return "bleu" not in metric


def _values(connection: Connection, table: Predictions, metrics: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Metric → (rows,) its values, NaN where it does not apply."""
    columns = ", ".join(f"coalesce({quoted(metric)}, 'nan')::DOUBLE" for metric in metrics)
    found = fetch_table(connection, f"SELECT {columns} FROM read_parquet(?)", [table.path])
    return {metric: column.to_numpy() for metric, column in zip(metrics, found.columns, strict=True)}


def _change(pairing: Pairing, before: NDArray[np.float64], now: NDArray[np.float64], score: Score) -> Change | None:
    rows = np.flatnonzero(pairing.run.of_task(score.task) & (pairing.partner >= 0))
    rows = rows[np.isfinite(now[rows]) & np.isfinite(before[pairing.partner[rows]])]
    if not len(rows):
        return None
    old, new = before[pairing.partner[rows]], now[rows]
    found = mean_difference(old, new, pairing.run.image[rows])
    return Change(
        task=score.task,
        metric=score.metric,
        is_share=score.is_share,
        base=float(old.mean()),
        run=float(new.mean()),
        difference=found.value,
        low=found.low,
        high=found.high,
        n=len(rows),
    )
