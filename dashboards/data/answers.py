"""The answers of evaluations: the order of a view's rows once, any page of them, and one sample in all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch, fetch_integers, fetch_table, quoted
from dashboards.data.filters import (
    BEFORE,
    OUTCOMES,
    PLAIN_COLUMNS,
    Outcome,
    View,
    conditions,
    near_miss_case,
    plain_sql,
)
from dashboards.data.predictions import (
    NO_VERDICT,
    RIGHT,
    RIGHT_SUFFIX,
    TRUNCATED,
    WRONG,
    Predictions,
    open_predictions,
    pair,
)
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
        prompt: as the model was given it; '' where the evaluation does not hold it.
        finish_reason: why the reply ended, as the model or server says: ``stop``, ``length`` …
        reasoning: what the model thought before it answered, where that was kept.
        confidence: probability of the answer, None where it was not asked for.
        repeat: 0 for the first time that the row is asked, 1 for the second …; of a conversation, its turns.
        facts: what the task kept of the row for its metrics, as a JSON object; '' without.
        right: metric → whether it calls the row right, of those that judge rows.
        verdict: what a judge said of the reply, as JSON; '' without a judge.
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
    prompt: str = ""
    finish_reason: str = ""
    reasoning: str = ""
    confidence: float | None = None
    repeat: int = 0
    facts: str = ""
    right: dict[str, bool] = field(default_factory=dict)
    verdict: str = ""
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


@cached(96)
def answers_at(run: Folder, base: Folder | None, rows: tuple[int, ...]) -> Sequence[Answer]:
    """The answers at these positions, in this order, each with the baseline's answer beside it."""
    found = _select(run, "file_row_number IN (SELECT unnest(?))", [list(rows)])
    by_row = {answer.row: answer for answer in found}
    ordered = [by_row[row] for row in rows if row in by_row]
    return _beside_base(base, ordered) if base else ordered


def answers_of(run: Folder, sample_id: str) -> list[Answer]:
    """All answers to one sample: one per task that asked it."""
    return _select(run, "sample_id = ?", [sample_id])


@cached(96)
def answers_to(run: Folder, ids: tuple[str, ...]) -> Sequence[Answer]:
    """A run's answers to these samples, in order of the file: one per task that asked them."""
    return _select(run, "sample_id IN (SELECT unnest(?))", [list(ids)])


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
    plain = ", ".join(f"{made} AS {name}" for made, name in zip(plain_sql(), PLAIN_COLUMNS, strict=True))
    sql = f"""
        SELECT *, {near_miss_case("correct", *PLAIN_COLUMNS)} AS near FROM (
            SELECT *, {table.correct_sql()} AS correct, {plain} FROM (
                SELECT * FROM read_parquet(?, file_row_number = true) WHERE {where}
                ORDER BY file_row_number LIMIT {_MOST_ANSWERS}
            )
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
        prompt=row.get("prompt") or "",
        finish_reason=row.get("finish_reason") or "",
        reasoning=row.get("reasoning") or "",
        confidence=row.get("confidence"),
        repeat=row.get("repeat") or 0,
        facts=row.get("facts") or "",
        right={name: row[name + RIGHT_SUFFIX] for name in table.metrics if row[name + RIGHT_SUFFIX] is not None},
        verdict=row.get("verdict") or "",
    )


@dataclass(frozen=True)
class Said:
    """What a run said to a row, as short as it stands beside another run's answer.

    Attributes:
        text: the answer, else the reply without one.
        asked: the question and the references.
    """

    text: str
    correct: bool | None
    status: str
    asked: tuple[str, tuple[str, ...]]


Asked = tuple[int, str, str]  # row of one run's file, task, sample_id


@cached(256)
def said_to(run: Folder, asked: tuple[Asked, ...]) -> Mapping[tuple[str, str], Said]:
    """(task, sample_id) → what a run said, for those of these samples that it was asked.

    Args:
        asked: the rows as another run holds them. Runs of one recipe hold a row in the same place, which is found
            much faster than an id.
    """
    wanted = {(task, sample_id) for _, task, sample_id in asked}
    placed = _said(run, "file_row_number", [row for row, _, _ in asked])
    found = {key: said for key, said in placed.items() if key in wanted}
    if left := list(dict.fromkeys(sample_id for _, task, sample_id in asked if (task, sample_id) not in found)):
        found |= {key: said for key, said in _said(run, "sample_id", left).items() if key in wanted}
    return found


def _said(
    run: Folder, column: Literal["file_row_number", "sample_id"], values: list[Any]
) -> dict[tuple[str, str], Said]:
    table = open_predictions(run)
    sql = f"""
        SELECT sample_id, task, question, "references", coalesce(extracted, raw, '') AS text, status,
               {table.correct_sql()} AS correct
        FROM read_parquet(?, file_row_number = true) WHERE {column} IN (SELECT unnest(?))"""
    return {
        (row["task"], row["sample_id"]): Said(
            row["text"], row["correct"], row["status"], (row["question"] or "", tuple(row["references"] or ()))
        )
        for row in fetch(run.connection, sql, [table.path, values])
    }


def _beside_base(base: Folder, answers: list[Answer]) -> list[Answer]:
    before = said_to(base, tuple((answer.row, answer.task, answer.sample_id) for answer in answers))
    return [_with_base(answer, before.get((answer.task, answer.sample_id))) for answer in answers]


def _with_base(answer: Answer, said: Said | None) -> Answer:
    return replace(answer, base_extracted=said.text, base_correct=said.correct) if said else answer


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
