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


def in_groups(images: np.ndarray) -> np.ndarray:
    """Image codes (rows,) as they are, or folded into fixed groups where there are very many."""
    return images % _GROUPS if len(images) and images.max() >= _MOST_IMAGES else images


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
    wanted = [score for score in scores if is_mean(score.metric) and score.metric in run.metrics]
    wanted = [score for score in wanted if score.metric in base.metrics]
    metrics = list(dict.fromkeys(score.metric for score in wanted))
    if not metrics:
        return []
    sums = fetch_columns(connection, _sums_sql(metrics), [run.path, base.path])
    found = [_change(sums, score, metrics.index(score.metric)) for score in wanted]
    return [change for change in found if change]


def is_mean(metric: str) -> bool:
    """Whether a corpus score is the mean of its rows' scores."""
    return "bleu" not in metric


def _change(sums: dict[str, np.ndarray], score: Score, column: int) -> Change | None:
    rows = (sums["task"] == score.task) & (sums[f"n_{column}"] > 0)
    counts, run, base = (sums[f"{name}_{column}"][rows].astype(np.float64) for name in ("n", "run", "base"))
    if not len(counts):
        return None
    groups = in_groups(np.arange(len(counts)))
    found = paired_difference(np.stack([base, counts], axis=1), np.stack([run, counts], axis=1), groups)
    return Change(
        task=score.task,
        metric=score.metric,
        is_share=score.is_share,
        base=float(base.sum() / counts.sum()),
        run=float(run.sum() / counts.sum()),
        difference=found.value,
        low=found.low,
        high=found.high,
        n=int(counts.sum()),
    )


def _sums_sql(metrics: Sequence[str]) -> str:
    """Sums per task and image (per row where there is none), in order of first occurrence.

    ``run_0``, ``base_0`` and ``n_0`` belong to the first metric. A row counts only if both runs were
    asked the same: id, pictures, question and references. One 64-bit hash stands for them in the
    join, which is several times as fast; two of a million rows agree by chance in one comparison of ten million.
    """
    columns = ", ".join(quoted(metric) for metric in metrics)
    side = f"""
        SELECT task, hash(sample_id, task, image_keys, question, "references") AS asked, {columns},
               CASE WHEN len(image_keys) > 0 THEN hash(image_keys) ELSE hash(sample_id) END AS image,
               file_row_number AS row
        FROM read_parquet(?, file_row_number = true)"""
    sums = []
    for number, metric in enumerate(metrics):
        both = f"(WHERE a.{quoted(metric)} IS NOT NULL AND b.{quoted(metric)} IS NOT NULL)"
        sums += [
            f"coalesce(sum(a.{quoted(metric)}) FILTER {both}, 0) AS run_{number}",
            f"coalesce(sum(b.{quoted(metric)}) FILTER {both}, 0) AS base_{number}",
            f"count(*) FILTER {both} AS n_{number}",
        ]
    return f"""
        SELECT task, {", ".join(sums)}
        FROM ({side}) a JOIN (SELECT asked, {columns} FROM ({side})) b USING (asked)
        GROUP BY task, a.image ORDER BY min(a.row)"""
