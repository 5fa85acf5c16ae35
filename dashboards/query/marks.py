"""Every row of an evaluation as a few numbers, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.query.codes import coded
from dashboards.query.engine import Connection, fetch_table
from dashboards.query.tables import Predictions
from evalsuite.statistics import Property

RIGHT, WRONG, NO_VERDICT = 1, 0, -1


@dataclass(frozen=True)
class Marks:
    """The rows of one evaluation in file order, 21 bytes each.

    Attributes:
        asked: (rows,) hash of id, task, images, question and references. 64 bits stand for them: two of a
            million rows agree by chance in one evaluation of ten million.
        image: (rows,) code of the row's images, by first occurrence; a row without any has its own.
        correct: (rows,) RIGHT, WRONG or NO_VERDICT.
        task: (rows,) name of the task, coded.
    """

    asked: NDArray[np.uint64]
    image: NDArray[np.int64]
    correct: NDArray[np.int8]
    task: Property

    def of_task(self, name: str) -> NDArray[np.bool_]:
        """(rows,) which rows belong to a task."""
        codes = [code for code, task in enumerate(self.task.values) if task == name]
        return self.task.codes == codes[0] if codes else np.zeros(len(self.asked), dtype=bool)


def read_marks(connection: Connection, table: Predictions) -> Marks:
    """Read them once; raises UserError for a broken table."""
    sql = f"""
        SELECT hash(sample_id, task, image_keys, question, "references") AS asked,
               CASE WHEN len(image_keys) > 0 THEN hash(image_keys) ELSE hash(sample_id) END AS image,
               coalesce(({table.correct_sql()})::TINYINT, {NO_VERDICT}) AS correct, task
        FROM read_parquet(?)"""
    found = fetch_table(connection, sql, [table.path])
    return Marks(
        asked=found["asked"].to_numpy(),
        image=pd.factorize(found["image"].to_numpy())[0].astype(np.int64),
        correct=found["correct"].to_numpy(),
        task=coded(found["task"]),
    )
