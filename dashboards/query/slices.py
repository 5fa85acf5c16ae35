"""Where a run fails more than elsewhere: every slice column, and what question and reference say, ranked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dashboards.query.codes import chosen, coded, commonest
from dashboards.query.engine import Connection, fetch_table, quoted
from dashboards.query.marks import NO_VERDICT, WRONG, Marks
from dashboards.query.tables import Predictions
from evalsuite import statistics
from evalsuite.statistics import Property, Ranking, Slice

MIN_ROWS = 30
MIN_IMAGES = 10
_MOST_VALUES = 40  # of a column, the most frequent


def rank_slices(connection: Connection, table: Predictions, marks: Marks, task: str) -> Ranking:
    """Slices of one task; rows without a verdict and rows whose request failed are left out.

    Raises:
        UserError: the table is broken.
    """
    failed = fetch_table(connection, "SELECT status = 'failed' AS failed FROM read_parquet(?)", [table.path])
    rows = marks.of_task(task) & (marks.correct != NO_VERDICT) & ~failed["failed"].to_numpy()
    images = np.unique(marks.image[rows], return_inverse=True)[1].astype(np.int64)
    columns = slice_columns(connection, table, rows)
    return statistics.rank_slices(
        (marks.correct[rows] == WRONG).astype(np.float64), images,
        {name: commonest(known, _MOST_VALUES) for name, known in columns.items()},
        min_rows=MIN_ROWS, min_clusters=MIN_IMAGES,
    )  # fmt: skip


def slice_columns(connection: Connection, table: Predictions, rows: NDArray[np.bool_]) -> dict[str, Property]:
    """Slice name → the value of each of ``rows``; raises UserError for a broken table."""
    known = table.slice_sql()
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in known.items())
    found = fetch_table(connection, f"SELECT {listed} FROM read_parquet(?)", [table.path])
    return {name: chosen(coded(found[name]), rows) for name in known}


def terms(one: Slice) -> tuple[str, ...]:
    """A slice as ``FilterSpec.where`` has it."""
    return tuple(f"{name}={value}" for name, value in one.where)
