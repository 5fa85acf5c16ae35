"""What changed between two runs, on the rows that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboards.query.engine import Connection, fetch_columns, quoted
from dashboards.query.scores import Score
from dashboards.query.tables import Predictions
from evalsuite.statistics import paired_difference

# Above so many images they are resampled in fixed groups. Groups of independent images are
# independent too; 5,000 of them leave the width of an interval uncertain by 1% (1 / sqrt(2 n)).
_MOST_IMAGES, _GROUPS = 10_000, 5_000


@dataclass(frozen=True)
class Change:
    """Run minus baseline in one metric, on the ``n`` rows that both have.

    Attributes:
        base, run: means over these rows.
        low, high: 95% interval of the difference, paired, resampling images; None for one image.
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


def changes(connection: Connection, run: Predictions, base: Predictions, scores: Sequence[Score]) -> list[Change]:
    """The change in each of ``scores`` that is a mean over rows (BLEU is not) and that both runs have."""
    found = [_change(connection, run, base, score) for score in scores if is_mean(score.metric)]
    return [change for change in found if change]


def is_mean(metric: str) -> bool:
    """Whether a corpus score is the mean of its rows' scores."""
    return "bleu" not in metric


def _change(connection: Connection, run: Predictions, base: Predictions, score: Score) -> Change | None:
    if score.metric not in run.metrics or score.metric not in base.metrics:
        return None
    sums = fetch_columns(connection, _sums_sql(score.metric), [run.path, score.task, base.path, score.task])
    counts = sums["n"].astype(np.float64)
    total = counts.sum()
    if not total:
        return None
    of_run = np.stack([sums["run_sum"].astype(np.float64), counts], axis=1)
    of_base = np.stack([sums["base_sum"].astype(np.float64), counts], axis=1)
    groups = np.arange(len(counts)) % _GROUPS if len(counts) > _MOST_IMAGES else None
    found = paired_difference(of_base, of_run, groups)
    return Change(
        task=score.task,
        metric=score.metric,
        is_share=score.is_share,
        base=float(of_base[:, 0].sum() / total),
        run=float(of_run[:, 0].sum() / total),
        difference=found.value,
        low=found.low,
        high=found.high,
        n=int(total),
    )


def _sums_sql(metric: str) -> str:
    """Sums per image (per row where there is none), in order of first occurrence.

    A row counts only if both runs were asked the same: pictures, question and references. Their
    hash stands for them in the join, which is twice as fast.
    """
    side = f"""
        SELECT sample_id, hash(image_keys, question, "references") AS asked, {quoted(metric)} AS score,
               coalesce(nullif(array_to_string(image_keys, ' '), ''), sample_id) AS image, file_row_number AS row
        FROM read_parquet(?, file_row_number = true) WHERE task = ? AND {quoted(metric)} IS NOT NULL"""
    return f"""
        SELECT sum(a.score) AS run_sum, sum(b.score) AS base_sum, count(*) AS n
        FROM ({side}) a JOIN (SELECT sample_id, asked, score FROM ({side})) b USING (sample_id, asked)
        GROUP BY a.image ORDER BY min(a.row)"""
