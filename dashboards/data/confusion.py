"""Which answer was given where which was expected, for tasks with few distinct answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, coded, fetch_table
from dashboards.data.filters import FilterSpec
from dashboards.data.predictions import open_predictions, row_index

MOST_CLASSES = 20


@dataclass(frozen=True)
class AnswerCodes:
    """The expected and the given answer of each row of a run as classes.

    Attributes:
        classes: their texts.
        expected, answered: (rows,) places in ``classes``.
    """

    classes: tuple[str, ...]
    expected: NDArray[np.int32]
    answered: NDArray[np.int32]


@cached(6)
def answer_codes(run: Folder) -> AnswerCodes:
    """The classes of a run's answers: 8 MB for a million rows; raises UserError for a broken table."""
    table = open_predictions(run)
    sql = f"SELECT {table.expected_sql()} AS expected, {table.answered_sql()} AS answered FROM read_parquet(?)"
    found = fetch_table(run.connection, sql, [table.path])
    expected, answered = coded(found["expected"]), coded(found["answered"])
    places = {text: place for place, text in enumerate(dict.fromkeys((*expected.values, *answered.values)))}
    return AnswerCodes(
        tuple(places),
        *(
            np.array([places[text] for text in known.values], dtype=np.int32)[known.codes]
            for known in (expected, answered)
        ),
    )


@dataclass(frozen=True)
class Confusion:
    """Rows of one task by expected and given class.

    Attributes:
        expected, answered: the classes of the matrix's rows and columns, most frequent first; the last of
            each is None for all other classes, where there are others.
        named: the classes that None leaves out.
        counts: (expected, answered) rows.
        distinct: how many distinct answers are expected.
    """

    expected: tuple[str | None, ...]
    answered: tuple[str | None, ...]
    named: tuple[str, ...]
    counts: NDArray[np.int64]
    distinct: int

    def cases(self, spec: FilterSpec, row: int, column: int) -> FilterSpec:
        """The view of one cell's rows, whatever their outcome."""
        expected, answered = self.expected[row], self.answered[column]
        return replace(
            spec,
            outcome="All",
            expected=() if expected is None else (expected,),
            expected_not=self.named if expected is None else (),
            answered=() if answered is None else (answered,),
            answered_not=self.named if answered is None else (),
        )


@cached(64)
def confusion(run: Folder, task: str) -> Confusion | None:
    """The matrix of one task over its ``MOST_CLASSES`` most frequent classes, expected and given taken together.

    Returns: None for a task without a row.

    Raises:
        UserError: the table is broken.
    """
    codes, rows = answer_codes(run), row_index(run).of_task(task)
    if not rows.any():
        return None
    expected, answered = codes.expected[rows], codes.answered[rows]
    by_expected = np.bincount(expected, minlength=len(codes.classes))
    by_answer = np.bincount(answered, minlength=len(codes.classes))
    frequent = np.argsort(-(by_expected + by_answer), kind="stable")[:MOST_CLASSES]
    frequent = frequent[(by_expected + by_answer)[frequent] > 0]
    place = np.full(len(codes.classes), len(frequent))
    place[frequent] = np.arange(len(frequent))
    size = len(frequent) + 1
    counts = np.bincount(place[expected] * size + place[answered], minlength=size * size).reshape(size, size)
    shown_rows, shown_columns = np.flatnonzero(counts.sum(axis=1)), np.flatnonzero(counts.sum(axis=0))
    named = tuple(codes.classes[code] for code in frequent)
    texts = (*named, None)
    return Confusion(
        expected=tuple(texts[row] for row in shown_rows),
        answered=tuple(texts[column] for column in shown_columns),
        named=named,
        counts=counts[np.ix_(shown_rows, shown_columns)],
        distinct=int(np.count_nonzero(by_expected)),
    )
