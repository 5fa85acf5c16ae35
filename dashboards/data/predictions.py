"""What the columns of an evaluation's ``predictions.parquet`` mean.

Every row of an evaluation as a few numbers, in memory.

Which rows of two evaluations belong together: those that were asked the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.data.catalog import MAKE
from dashboards.data.categorical import coded
from dashboards.data.engine import Connection, columns_of, fetch_table, quoted
from evalsuite.statistics import Property
from winnow.errors import UserError

STATUSES = ("ok", "unparsed", "refused", "truncated", "failed")
RIGHT_FROM = 0.5  # a soft score (VQA accuracy) counts as right from here on
_CORRECTNESS = ("accuracy", "vqa_accuracy", "exact_match", "relaxed_accuracy", "anls")
_NOT_METRICS = ("seconds",)
_NEEDED = ("sample_id", "task", "question", "raw", "extracted", "status", "references")

# Slices that every evaluation has: the first two words of the question, and the first reference.
_SAID = {
    "question opens with": r"regexp_replace(regexp_extract(lower(question), '\S+(\s+\S+)?'), '\s+', ' ')",
    "reference": 'lower("references"[1])',
}


@dataclass(frozen=True)
class Predictions:
    """One ``predictions.parquet`` and what it can be asked.

    Attributes:
        path: the file.
        columns: every column's name.
        metrics: columns that hold a score, in file order.
        correctness: the metric columns that can tell right from wrong, best first.
    """

    path: str
    columns: frozenset[str]
    metrics: tuple[str, ...]
    correctness: tuple[str, ...]

    def slice_sql(self) -> dict[str, str]:
        """Slice name → SQL of a row's value as text: the slice columns, and what question and reference say."""
        stored = sorted(name for name in self.columns if name.startswith("slice_"))
        return {name.removeprefix("slice_"): f"{quoted(name)}::VARCHAR" for name in stored} | _SAID

    def correct_sql(self) -> str:
        """Boolean SQL: is the answer right? NULL where the task has no notion of it (captions).

        An answer that never came (any status but ``ok``) is wrong.
        """
        if not self.correctness:
            return "CASE WHEN status <> 'ok' THEN false END"
        score = f"coalesce({', '.join(quoted(name) for name in self.correctness)})"
        return f"CASE WHEN status <> 'ok' THEN false ELSE {score} >= {RIGHT_FROM} END"

    def ranking_sql(self, metric: str, *, worst_first: bool) -> str:
        """ORDER BY terms over ``metric``, or for '' over correctness, then the other metrics; ties go by sample_id."""
        others = tuple(name for name in self.metrics if name not in self.correctness)
        scores = (metric,) if metric in self.metrics else self.correctness + others
        direction = "ASC" if worst_first else "DESC"
        return ", ".join([*(f"{quoted(name)} {direction} NULLS LAST" for name in scores), "sample_id"])


def open_predictions(connection: Connection, path: str) -> Predictions:
    """Read the schema of a predictions file.

    Raises:
        UserError: the file is missing, no Parquet file, or lacks a column.
    """
    columns = columns_of(connection, path)
    if lost := [name for name in _NEEDED if name not in columns]:
        raise UserError(f"{path}: lacks the columns {', '.join(lost)}; remake it with `{MAKE['evals']}`")
    metrics = tuple(name for name, kind in columns.items() if kind in ("DOUBLE", "FLOAT") and name not in _NOT_METRICS)
    correctness = tuple(name for name in _CORRECTNESS if name in metrics)
    return Predictions(path, frozenset(columns), metrics, correctness)


RIGHT, WRONG, NO_VERDICT = 1, 0, -1


@dataclass(frozen=True)
class RowIndex:
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


def read_row_index(connection: Connection, table: Predictions) -> RowIndex:
    """Read them once; raises UserError for a broken table."""
    sql = f"""
        SELECT hash(sample_id, task, image_keys, question, "references") AS asked,
               CASE WHEN len(image_keys) > 0 THEN hash(image_keys) ELSE hash(sample_id) END AS image,
               coalesce(({table.correct_sql()})::TINYINT, {NO_VERDICT}) AS correct, task
        FROM read_parquet(?)"""
    found = fetch_table(connection, sql, [table.path])
    return RowIndex(
        asked=found["asked"].to_numpy(),
        image=pd.factorize(found["image"].to_numpy())[0].astype(np.int64),
        correct=found["correct"].to_numpy(),
        task=coded(found["task"]),
    )


NOT_ASKED = -2


@dataclass(frozen=True)
class Pairing:
    """Two runs row by row.

    Attributes:
        partner: (rows of the run,) row of the baseline with the same id, task, images, question and references;
            -1 where there is none.
        before: (rows of the run,) the baseline's RIGHT, WRONG or NO_VERDICT there, NOT_ASKED without a partner.
    """

    run: RowIndex
    base: RowIndex
    partner: NDArray[np.int64]
    before: NDArray[np.int8]

    def only_base(self, task: str) -> int:
        """How many rows of a task the baseline has alone."""
        met = np.zeros(len(self.base.asked), dtype=bool)
        met[self.partner[self.partner >= 0]] = True
        return int((self.base.of_task(task) & ~met).sum())


def pair(run: RowIndex, base: RowIndex) -> Pairing:
    """Join two runs on what was asked."""
    partner = _partner_rows(run.asked, base.asked)
    before = np.full(len(partner), NOT_ASKED, dtype=np.int8)
    before[partner >= 0] = base.correct[partner[partner >= 0]]
    return Pairing(run, base, partner, before)


def _partner_rows(asked: NDArray[np.uint64], base: NDArray[np.uint64]) -> NDArray[np.int64]:
    if np.array_equal(asked, base):  # two runs of one recipe: the usual case
        return np.arange(len(asked))
    if not len(base):
        return np.full(len(asked), -1)
    order = np.argsort(base, kind="stable")
    places = np.searchsorted(base, asked, sorter=order)
    rows = order[np.minimum(places, len(order) - 1)]
    return np.where(base[rows] == asked, rows, -1)
