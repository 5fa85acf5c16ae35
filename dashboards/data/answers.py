"""The answers of evaluations: the order of a view's rows once, any page of them, and one sample in all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch, fetch_integers, fetch_table, quoted
from dashboards.data.filters import BEFORE, OUTCOMES, Outcome, View, conditions, near_miss_sql
from dashboards.data.predictions import NO_VERDICT, RIGHT, TRUNCATED, WRONG, Predictions, open_predictions, pair
from winnow.errors import UserError

_LONGEST_LIST = 500  # values offered for one filter
_MOST_ANSWERS = 100_000  # at a time; pages ask for dozens


@dataclass(frozen=True)
class Answer:
    """One row of ``predictions.parquet``.

    Attributes:
        row: its position in the file.
        references: all references, with repetition.
        correct: None where no metric judges single rows.
        scores: metric → value, those that apply.
        error: why a request failed, '' otherwise.
        content_hash: what a decision about the row is tied to; see ``winnow.corrections``.
        near: how a wrong answer just misses a reference, see ``filters.NEAR_MISSES``; '' if it does not.
        choices: of a multiple-choice question.
        truncated: the reply was cut off.
        base_extracted, base_correct: the baseline's answer, None without one.
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
    truncated: bool = False
    base_extracted: str | None = None
    base_correct: bool | None = None


@cached(16)
def matching_rows(view: View) -> NDArray[np.int32]:
    """Positions (rows,) of all rows of a view, in its order; read-only, 4 MB for a million rows.

    Ties are broken by sample_id. Outcomes that need a baseline are empty without one.

    Raises:
        UserError: a table is broken; so do all queries here.
    """
    spec, table = view.spec, open_predictions(view.run)
    pairing = pair(view.run, view.base) if view.base else None
    if spec.outcome in BEFORE and pairing is None:
        return np.empty(0, dtype=np.int32)
    where, bound = conditions(spec, table)
    order = (
        "row" if spec.order == "As stored" else table.ranking_sql(spec.metric, worst_first=spec.order == "Worst first")
    )
    sql = f"SELECT row FROM {_source(table)} WHERE {where} ORDER BY {order}"
    rows = fetch_integers(view.run.connection, sql, [table.path, *bound])
    if pairing and spec.outcome in BEFORE:
        rows = rows[pairing.before[rows] == BEFORE[spec.outcome]]
    rows.setflags(write=False)
    return rows


@cached(64)
def count_outcomes(view: View) -> Mapping[Outcome, int]:
    """Rows per outcome under all other filters of the view; ``Fixed`` and ``Broken`` are 0 without a baseline."""
    table = open_predictions(view.run)
    where, bound = conditions(replace(view.spec, outcome="All"), table)
    sql = f"SELECT row, coalesce(correct::TINYINT, {NO_VERDICT}) AS correct FROM {_source(table)} WHERE {where}"
    found = fetch_table(view.run.connection, sql, [table.path, *bound])
    correct = found["correct"].to_numpy()
    right, wrong = correct == RIGHT, correct == WRONG
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    counts |= {"Right": int(right.sum()), "Wrong": int(wrong.sum()), "All": len(correct)}
    if view.base:
        before = pair(view.run, view.base).before[found["row"].to_numpy()]
        for outcome, verdict in BEFORE.items():
            now = right if outcome in ("Fixed", "Both right") else wrong
            counts[outcome] = int((now & (before == verdict)).sum())
    return counts


def _source(table: Predictions) -> str:
    """FROM clause with the columns of ``table``, ``row`` and ``correct``; binds the table's path."""
    return f"""(
        SELECT *, file_row_number AS row, {table.correct_sql()} AS correct
        FROM read_parquet(?, file_row_number = true)
    )"""


@cached(256)
def answers_at(run: Folder, base: Folder | None, rows: tuple[int, ...]) -> Sequence[Answer]:
    """The answers at these positions, in this order, each with the baseline's answer beside it."""
    found = _select(run, "file_row_number IN (SELECT unnest(?))", [list(rows)])
    by_row = {answer.row: answer for answer in found}
    ordered = [by_row[row] for row in rows if row in by_row]
    return _beside_base(base, ordered) if base else ordered


def answers_of(run: Folder, sample_id: str) -> list[Answer]:
    """All answers to one sample: one per task that asked it."""
    return _select(run, "sample_id = ?", [sample_id])


@cached(64)
def filter_values(run: Folder) -> Mapping[str, list[str]]:
    """The distinct values of ``task``, ``status``, ``truncated`` and the slice columns, sorted, for the filter bar."""
    table = open_predictions(run)
    slices = sorted(name for name in table.columns if name.startswith("slice_"))
    columns = ["task", "status", *({TRUNCATED} & table.columns), *slices]
    lists = ", ".join(f"list(DISTINCT {quoted(name)}) AS {quoted(name)}" for name in columns)
    row = fetch(run.connection, f"SELECT {lists} FROM read_parquet(?)", [table.path])[0]
    return {
        name: sorted(str(value) for value in row[name] or () if value is not None)[:_LONGEST_LIST] for name in columns
    }


def _select(run: Folder, where: str, values: list[Any]) -> list[Answer]:
    table = open_predictions(run)
    correct = table.correct_sql()
    sql = f"""
        SELECT *, {correct} AS correct, {near_miss_sql(correct)} AS near FROM (
            SELECT * FROM read_parquet(?, file_row_number = true) WHERE {where}
            ORDER BY file_row_number LIMIT {_MOST_ANSWERS}
        )"""  # the limit keeps DuckDB from preparing ``near`` for the whole table
    return [_answer(row, table) for row in fetch(run.connection, sql, [table.path, *values])]


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
        truncated=bool(row.get(TRUNCATED)),
    )


def _beside_base(base: Folder, answers: list[Answer]) -> list[Answer]:
    table = open_predictions(base)
    sql = f"""
        SELECT sample_id, task, extracted, raw, {table.correct_sql()} AS correct
        FROM read_parquet(?) WHERE sample_id IN (SELECT unnest(?))"""
    rows = fetch(base.connection, sql, [table.path, [answer.sample_id for answer in answers]])
    before = {(row["sample_id"], row["task"]): row for row in rows}
    return [_with_base(answer, before.get((answer.sample_id, answer.task))) for answer in answers]


def _with_base(answer: Answer, row: dict[str, Any] | None) -> Answer:
    if row is None:
        return answer
    text = row["raw"] if row["extracted"] is None else row["extracted"]
    return replace(answer, base_extracted=text or "", base_correct=row["correct"])


@dataclass(frozen=True)
class RunAnswer:
    """What one run answered; ``problem`` instead of an answer when its table cannot be read."""

    run: Folder
    answer: Answer | None
    problem: str = ""


@cached(64)
def answers_of_all(runs: tuple[Folder, ...], sample_id: str) -> Sequence[RunAnswer]:
    """The answers of every run that was asked this sample, in the order of ``runs``."""
    found = []
    for run in runs:
        try:
            found += [RunAnswer(run, answer) for answer in answers_of(run, sample_id)]
        except UserError as error:
            found.append(RunAnswer(run, None, str(error)))
    return found
