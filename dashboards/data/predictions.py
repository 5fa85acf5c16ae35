"""The rows of evaluations: what their columns mean, their outcomes as numbers, and the pairs of two runs.

Nothing here knows a metric by name: ``<column>_right`` beside a metric's column says whether a row is right,
and ``scores.json`` says which metric of a task is the first to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.data.catalog import MAKE, Folder, scores_of
from dashboards.data.engine import cached, coded, columns_of, fetch_table, quoted
from evalsuite.statistics import Property
from winnow.errors import UserError
from winnow.parquet.tables import literal

STATUSES = ("ok", "unparsed", "refused", "failed")
NOTHING = "(nothing)"  # the class of an empty answer; no answer's own class holds an outer bracket
TRUNCATED = "truncated"  # a mark beside the status: the reply was cut off
RIGHT, WRONG, NO_VERDICT, NOT_ASKED = 1, 0, -1, -2
RIGHT_SUFFIX = "_right"  # ends the name of a column that says whether a row is right by a metric
_NEEDED = ("sample_id", "task", "question", "raw", "extracted", "status", "references")

# What answers and references are compared without: outer blanks, punctuation and brackets.
_EDGES = literal(" \t\r\n.,;:!?\"'()[]{}")

# Slices that every evaluation has: the first two words of the question, and the first reference.
_TEXT_SLICES = {
    "question opens with": r"regexp_replace(regexp_extract(lower(question), '\S+(\s+\S+)?'), '\s+', ' ')",
    "reference": 'lower("references"[1])',
}


@dataclass(frozen=True)
class Predictions:
    """One ``predictions.parquet`` and what it can be asked.

    Attributes:
        path: the file, as DuckDB takes it.
        columns: every column's name.
        metrics: columns that hold a score, in file order.
        headlines: (task, metric) for tasks whose evaluation names the metric to read first.
    """

    path: str
    columns: frozenset[str]
    metrics: tuple[str, ...]
    headlines: tuple[tuple[str, str], ...] = ()

    def slice_sql(self) -> dict[str, str]:
        """Slice name → SQL of a row's value as text: the slice columns, and what question and reference say."""
        stored = sorted(name for name in self.columns if name.startswith("slice_"))
        return {name.removeprefix("slice_"): f"{quoted(name)}::VARCHAR" for name in stored} | _TEXT_SLICES

    def correct_sql(self) -> str:
        """Boolean SQL: is the answer right? By the task's headline metric, else by the first that judges the row.

        NULL where no metric judges single rows (captions). An answer that never came (any status but
        ``ok``) is wrong.
        """
        if not self.metrics:
            return "CASE WHEN status <> 'ok' THEN false END"
        verdicts = [quoted(name + RIGHT_SUFFIX) for name in self.metrics]
        first = [
            f"WHEN {literal(task)} THEN {quoted(name + RIGHT_SUFFIX)}"
            for task, name in self.headlines
            if name in self.metrics
        ]
        if first:
            verdicts.insert(0, f"CASE task {' '.join(first)} END")
        return f"CASE WHEN status <> 'ok' THEN false ELSE coalesce({', '.join([*verdicts, 'NULL'])}) END"

    def expected_sql(self) -> str:
        """SQL of the answer that was expected, as a class: the most frequent reference, ties by first occurrence."""
        reference = 'CASE WHEN len("references") > 1 THEN list_mode("references") ELSE "references"[1] END'
        return f"coalesce(nullif({class_sql(reference)}, ''), '{NOTHING}')"

    def answered_sql(self) -> str:
        """SQL of the answer that was given, as a class; where none could be taken, the status in brackets."""
        missing = f"CASE WHEN status = 'ok' THEN '{NOTHING}' ELSE '(' || status || ')' END"
        return f"coalesce(nullif({class_sql('extracted')}, ''), {missing})"

    def ranking_sql(self, metric: str, *, worst_first: bool) -> str:
        """ORDER BY terms over ``metric``, or for '' over all of them in file order; ties go by sample_id."""
        scores = (metric,) if metric in self.metrics else self.metrics
        direction = "ASC" if worst_first else "DESC"
        return ", ".join([*(f"{quoted(name)} {direction} NULLS LAST" for name in scores), "sample_id"])


def class_sql(text: str) -> str:
    """SQL: a text in small letters, without outer blanks, punctuation and brackets: "(B)." becomes "b"."""
    return f"lower(trim({text}, {_EDGES}))"


@cached(64)
def open_predictions(folder: Folder) -> Predictions:
    """Read the schema of an evaluation's predictions.

    Raises:
        UserError: the file is missing, no Parquet file, lacks a column, or was scored by a version of
            evalsuite that did not record which rows are right.
    """
    path = folder.file("predictions.parquet")
    columns = columns_of(folder.connection, path)
    if lost := [name for name in _NEEDED if name not in columns]:
        raise UserError(f"{path}: lacks the columns {', '.join(lost)}; remake it with `{MAKE['evals']}`")
    metrics = tuple(name for name in columns if name + RIGHT_SUFFIX in columns)
    tasks = scores_of(folder).get("tasks")
    named = {str(task): _headline(entry) for task, entry in tasks.items()} if isinstance(tasks, Mapping) else {}
    if not metrics and any(named.values()):
        raise UserError(
            f"{folder.path}: its predictions do not say which rows are right;"
            f" bring it up to date with `evalsuite score {folder.path}`"
        )
    return Predictions(path, frozenset(columns), metrics, tuple((task, name) for task, name in named.items() if name))


def _headline(entry: object) -> str:
    return str(entry.get("headline") or "") if isinstance(entry, Mapping) else ""


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
        if name not in self.task.values:
            return np.zeros(len(self.asked), dtype=bool)
        mask: NDArray[np.bool_] = self.task.codes == self.task.values.index(name)
        return mask


@cached(12)  # not fewer than ``agreement.MOST_RUNS``, or the runs of one page would push each other out
def row_index(folder: Folder) -> RowIndex:
    """An evaluation's rows as numbers: 21 MB for a million; raises UserError for a broken table."""
    table = open_predictions(folder)
    sql = f"""
        SELECT hash(sample_id, task, image_keys, question, "references") AS asked,
               CASE WHEN len(image_keys) > 0 THEN hash(image_keys) ELSE hash(sample_id) END AS image,
               coalesce(({table.correct_sql()})::TINYINT, {NO_VERDICT}) AS correct, task
        FROM read_parquet(?)"""
    found = fetch_table(folder.connection, sql, [table.path])
    return RowIndex(
        asked=found["asked"].to_numpy(),
        image=pd.factorize(found["image"].to_numpy())[0].astype(np.int64),
        correct=found["correct"].to_numpy(),
        task=coded(found["task"]),
    )


def tasks_by_size(folder: Folder) -> list[str]:
    """The tasks of an evaluation, those with more right and wrong rows first, then those with more rows.

    Raises:
        UserError: the table is broken.
    """
    index = row_index(folder)
    names = index.task.values
    rows = np.bincount(index.task.codes, minlength=len(names))
    judged = np.bincount(index.task.codes[index.correct != NO_VERDICT], minlength=len(names))
    return [names[place] for place in np.lexsort((-rows, -judged))]


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


@cached(6)
def pair(run: Folder, base: Folder) -> Pairing:
    """Join two runs on what was asked: 9 MB more for a million rows."""
    now, before = row_index(run), row_index(base)
    partner = partner_rows(now.asked, before.asked)
    verdicts = np.full(len(partner), NOT_ASKED, dtype=np.int8)
    verdicts[partner >= 0] = before.correct[partner[partner >= 0]]
    return Pairing(now, before, partner, verdicts)


def partner_rows(asked: NDArray[np.uint64], base: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(rows,) place in ``base`` of each of ``asked``, -1 where it is not among them; see ``RowIndex.asked``."""
    if np.array_equal(asked, base):  # two runs of one recipe: the usual case
        return np.arange(len(asked))
    if not len(base):
        return np.full(len(asked), -1)
    order = np.argsort(base, kind="stable")
    places = np.searchsorted(base, asked, sorter=order)
    rows = order[np.minimum(places, len(order) - 1)]
    return np.where(base[rows] == asked, rows, -1)
