"""The rows of a view: their order once, then any page of them in constant time.

One sample: what every run said about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import Connection, fetch, fetch_integers, fetch_table, quoted
from dashboards.data.filters import BEFORE, OUTCOMES, FilterSpec, Outcome, conditions, near_miss_sql
from dashboards.data.predictions import NO_VERDICT, RIGHT, WRONG, Pairing, Predictions, open_predictions
from winnow.errors import UserError

_LONGEST_LIST = 500  # values offered for one filter
_MOST_ANSWERS = 100_000  # at a time; pages ask for dozens


@dataclass(frozen=True)
class Answer:
    """One row of ``predictions.parquet``.

    Attributes:
        row: its position in the file.
        references: all references, with repetition.
        correct: None where the task has no notion of right and wrong.
        scores: metric → value, those that apply.
        error: why a request failed, '' otherwise.
        content_hash: what a decision about the row is tied to; see ``winnow.corrections``.
        near: in which way a wrong answer is near a reference, see ``strictness.NEAR``; '' if in none.
        choices: of a multiple-choice question.
        base_extracted, base_correct: what the baseline said, None without one.
    """

    row: int
    sample_id: str
    task: str
    question: str
    raw: str
    extracted: str | None
    status: str
    references: tuple[str, ...]
    images: tuple[str, ...]
    image_keys: tuple[str | None, ...]
    correct: bool | None
    scores: dict[str, float] = field(default_factory=dict)
    slices: dict[str, str] = field(default_factory=dict)
    error: str = ""
    content_hash: str = ""
    near: str = ""
    choices: tuple[str, ...] = ()
    base_extracted: str | None = None
    base_correct: bool | None = None


def matching_rows(
    connection: Connection, table: Predictions, pairing: Pairing | None, spec: FilterSpec
) -> NDArray[np.int32]:
    """Positions (int32, (n,)) of all rows of the view, in its order; ties are broken by sample_id.

    ``Fixed`` and its like are empty without a ``pairing``.
    """
    if spec.outcome in BEFORE and pairing is None:
        return np.empty(0, dtype=np.int32)
    where, bound = conditions(spec, table)
    order = (
        "row" if spec.order == "As stored" else table.ranking_sql(spec.metric, worst_first=spec.order == "Worst first")
    )
    sql = f"SELECT row FROM {_source(table)} WHERE {where} ORDER BY {order}"
    rows = fetch_integers(connection, sql, [table.path, *bound])
    return rows[pairing.before[rows] == BEFORE[spec.outcome]] if pairing and spec.outcome in BEFORE else rows


def count_outcomes(
    connection: Connection, table: Predictions, pairing: Pairing | None, spec: FilterSpec
) -> dict[Outcome, int]:
    """Rows per outcome under all other filters of ``spec``; ``Fixed`` and ``Broken`` are 0 without a baseline."""
    where, bound = conditions(replace(spec, outcome="All"), table)
    sql = f"SELECT row, coalesce(correct::TINYINT, {NO_VERDICT}) AS correct FROM {_source(table)} WHERE {where}"
    found = fetch_table(connection, sql, [table.path, *bound])
    correct = found["correct"].to_numpy()
    right, wrong = correct == RIGHT, correct == WRONG
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    counts |= {"Right": int(right.sum()), "Wrong": int(wrong.sum()), "All": len(correct)}
    if pairing:
        before = pairing.before[found["row"].to_numpy()]
        for outcome, said in BEFORE.items():
            now = right if outcome in ("Fixed", "Both right") else wrong
            counts[outcome] = int((now & (before == said)).sum())
    return counts


def _source(table: Predictions) -> str:
    """FROM clause with the columns of ``table``, ``row`` and ``correct``; binds the table's path."""
    return f"""(
        SELECT *, file_row_number AS row, {table.correct_sql()} AS correct
        FROM read_parquet(?, file_row_number = true)
    )"""


def answers_at(
    connection: Connection, table: Predictions, base: Predictions | None, rows: Sequence[int]
) -> list[Answer]:
    """The answers at these positions, in this order, with what the baseline said beside them."""
    found = _select(connection, table, "file_row_number IN (SELECT unnest(?))", [[int(row) for row in rows]])
    by_row = {answer.row: answer for answer in found}
    ordered = [by_row[int(row)] for row in rows if int(row) in by_row]
    return _beside_base(connection, base, ordered) if base else ordered


def answers_of(connection: Connection, table: Predictions, sample_id: str) -> list[Answer]:
    """All answers to one sample: one per task that asked it."""
    return _select(connection, table, "sample_id = ?", [sample_id])


def filter_values(connection: Connection, table: Predictions) -> dict[str, list[str]]:
    """The distinct values of ``task``, ``status`` and the slice columns, sorted, for the filter bar."""
    columns = ["task", "status", *sorted(name for name in table.columns if name.startswith("slice_"))]
    lists = ", ".join(f"list(DISTINCT {quoted(name)}) AS {quoted(name)}" for name in columns)
    row = fetch(connection, f"SELECT {lists} FROM read_parquet(?)", [table.path])[0]
    return {
        name: sorted(str(value) for value in row[name] or () if value is not None)[:_LONGEST_LIST] for name in columns
    }


def _select(connection: Connection, table: Predictions, where: str, values: list[Any]) -> list[Answer]:
    correct = table.correct_sql()
    sql = f"""
        SELECT *, {correct} AS correct, {near_miss_sql(correct)} AS near FROM (
            SELECT * FROM read_parquet(?, file_row_number = true) WHERE {where}
            ORDER BY file_row_number LIMIT {_MOST_ANSWERS}
        )"""  # the limit keeps DuckDB from preparing ``near`` for the whole table
    return [_answer(row, table) for row in fetch(connection, sql, [table.path, *values])]


def _answer(row: dict[str, Any], table: Predictions) -> Answer:
    slices = {name: row[name] for name in sorted(table.columns) if name.startswith("slice_") and row[name] is not None}
    return Answer(
        row=row["file_row_number"],
        sample_id=row["sample_id"],
        task=row["task"],
        question=row["question"] or "",
        raw=row["raw"] or "",
        extracted=row["extracted"],
        status=row["status"],
        references=tuple(row["references"] or ()),
        images=tuple(row.get("images") or ()),
        image_keys=tuple(row.get("image_keys") or ()),
        correct=row["correct"],
        scores={name: row[name] for name in table.metrics if row[name] is not None},
        slices={name.removeprefix("slice_"): str(value) for name, value in slices.items()},
        error=row.get("error") or "",
        content_hash=row.get("content_hash") or "",
        near=row["near"],
        choices=tuple(row.get("choices") or ()),
    )


def _beside_base(connection: Connection, base: Predictions, answers: list[Answer]) -> list[Answer]:
    sql = f"""
        SELECT sample_id, task, extracted, raw, {base.correct_sql()} AS correct
        FROM read_parquet(?) WHERE sample_id IN (SELECT unnest(?))"""
    rows = fetch(connection, sql, [base.path, [answer.sample_id for answer in answers]])
    said = {(row["sample_id"], row["task"]): row for row in rows}
    return [_with_base(answer, said.get((answer.sample_id, answer.task))) for answer in answers]


def _with_base(answer: Answer, row: dict[str, Any] | None) -> Answer:
    if row is None:
        return answer
    said = row["raw"] if row["extracted"] is None else row["extracted"]
    return replace(answer, base_extracted=said or "", base_correct=row["correct"])


@dataclass(frozen=True)
class RunAnswer:
    """What one run answered; ``problem`` instead of an answer when its table cannot be read."""

    run: Folder
    answer: Answer | None
    problem: str = ""


def answers_of_all(connection: Connection, runs: Sequence[Folder], sample_id: str) -> list[RunAnswer]:
    """The answers of every run that was asked this sample, in the order of ``runs``."""
    found = []
    for run in runs:
        try:
            table = open_predictions(connection, run.file("predictions.parquet"))
            found += [RunAnswer(run, answer) for answer in answers_of(connection, table, sample_id)]
        except UserError as error:
            found.append(RunAnswer(run, None, str(error)))
    return found
