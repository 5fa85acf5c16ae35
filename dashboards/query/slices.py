"""Where a run fails more than elsewhere: every slice column, and what question and reference say, ranked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.query.engine import Connection, fetch_columns, quoted
from dashboards.query.tables import Predictions
from evalsuite import statistics
from evalsuite.statistics import Property, Ranking, Slice

MIN_ROWS = 30
MIN_IMAGES = 10
_MOST_VALUES = 40  # of a column, the most frequent


def rank_slices(connection: Connection, table: Predictions, task: str) -> Ranking:
    """Slices of one task; rows without a verdict and rows whose request failed are left out.

    Raises:
        UserError: the table is broken.
    """
    known = table.slice_sql()
    listed = "".join(f", coalesce({sql}, '') AS {quoted(name)}" for name, sql in known.items())
    sql = f"""
        SELECT CASE WHEN {table.correct_sql()} THEN 0.0 ELSE 1.0 END AS error,
               hash(CASE WHEN len(image_keys) > 0 THEN array_to_string(image_keys, ' ') ELSE sample_id END) AS image
               {listed}
        FROM read_parquet(?) WHERE task = ? AND status <> 'failed' AND ({table.correct_sql()}) IS NOT NULL"""
    found = fetch_columns(connection, sql, [table.path, task])
    return statistics.rank_slices(
        np.asarray(found["error"], dtype=np.float64), pd.factorize(found["image"])[0].astype(np.int64),
        {name: _commonest(found[name]) for name in known}, min_rows=MIN_ROWS, min_clusters=MIN_IMAGES,
    )  # fmt: skip


def terms(one: Slice) -> tuple[str, ...]:
    """A slice as ``FilterSpec.where`` has it."""
    return tuple(f"{name}={value}" for name, value in one.where)


def _commonest(column: NDArray[np.object_]) -> Property:
    """A column of texts; all but its 40 most frequent values count as none."""
    codes, values = pd.factorize(column)
    kept = set(np.argsort(-np.bincount(codes, minlength=1), kind="stable")[:_MOST_VALUES].tolist())
    return Property(tuple(str(value) if code in kept else "" for code, value in enumerate(values)), codes)
