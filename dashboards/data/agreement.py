"""Several runs on the same rows: where they agree, and where one is right and others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dashboards.data.answers import Answer, answers_at
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.engine import cached, fetch_table
from dashboards.data.parameters import changed
from dashboards.data.predictions import RIGHT, WRONG, open_predictions, partner_rows, row_index

MOST_RUNS = 8
# The values are what the page and the URL show.
Pattern = Literal["Any", "All right", "Split", "All wrong", "All wrong alike", "All differ"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
PATTERN_HELP = (
    "Split: some runs are right and some wrong. All wrong alike: every run gives the same wrong answer, which often"
    " means a wrong reference. All differ: no two runs give the same answer."
)
SideOrder = Literal["As stored", "Least agreement first"]
SIDE_ORDERS: tuple[SideOrder, ...] = get_args(SideOrder)


@dataclass(frozen=True)
class SideSpec:
    """What the page of several runs shows.

    Attributes:
        runs: names of evaluations; the first one's rows are shown.
        task: '' is the first task of the first run.
        right, wrong: runs that must be right, or wrong, on a row.
    """

    runs: tuple[str, ...] = ()
    task: str = ""
    pattern: Pattern = "Any"
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    order: SideOrder = "As stored"

    def to_parameters(self) -> dict[str, str | list[str]]:
        """The URL parameters of this view; defaults are left out."""
        return changed(self, _PARAMETERS)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Sequence[str]]) -> SideSpec:
        """The view that URL parameters name; unknown parameters and values that do not fit are left out."""
        last = {name: values[-1] for name, values in parameters.items() if values}
        return cls(
            runs=tuple(parameters.get("runs", ())),
            task=last.get("side_task", ""),
            pattern=next((known for known in PATTERNS if known == last.get("pattern")), "Any"),
            right=tuple(parameters.get("right", ())),
            wrong=tuple(parameters.get("wrong", ())),
            order=next((known for known in SIDE_ORDERS if known == last.get("side_sort")), "As stored"),
        )


_PARAMETERS = {
    "runs": "runs", "task": "side_task", "pattern": "pattern", "right": "right", "wrong": "wrong", "order": "side_sort",
}  # fmt: skip


def chosen_runs(catalog: Catalog, names: Sequence[str]) -> tuple[Folder, ...]:
    """The evaluations of these names, unknown ones left out, at most ``MOST_RUNS``."""
    found = (catalog.find("evals", name) for name in dict.fromkeys(names))
    return tuple(folder for folder in found if folder)[:MOST_RUNS]


@dataclass(frozen=True)
class Panel:
    """The rows of one task that all of some runs were asked, in the order of the first run's file.

    Attributes:
        rows: (runs, rows) their places in each run's file.
        correct: (runs, rows) RIGHT, WRONG or NO_VERDICT.
        same_as: (runs, rows) the first run, by its place, that gives the same answer.
        left_out: rows of the task in the first run that another run was not asked.
    """

    rows: NDArray[np.int32]
    correct: NDArray[np.int8]
    same_as: NDArray[np.int8]
    left_out: int

    def different(self) -> NDArray[np.int8]:
        """(rows,) how many different answers the runs give."""
        own = np.arange(len(self.rows), dtype=np.int8)[:, None]
        count: NDArray[np.int8] = (self.same_as == own).sum(axis=0, dtype=np.int8)
        return count

    def matches(self, pattern: Pattern) -> NDArray[np.bool_]:
        """(rows,) which rows show a pattern."""
        mask: NDArray[np.bool_]
        if pattern == "Any":
            return np.ones(self.rows.shape[1], dtype=bool)
        if pattern == "All differ":
            mask = self.different() == len(self.rows)
            return mask
        if pattern == "Split":
            mask = (self.correct == RIGHT).any(axis=0) & (self.correct == WRONG).any(axis=0)
            return mask
        mask = (self.correct == (RIGHT if pattern == "All right" else WRONG)).all(axis=0)
        if pattern == "All wrong alike":
            mask &= self.different() == 1
        return mask


@cached(2)
def panel(runs: tuple[Folder, ...], task: str) -> Panel:
    """Join runs on what was asked: 6 bytes a row and run.

    Raises:
        UserError: a table is broken.
    """
    indexes = [row_index(run) for run in runs]
    shown = np.flatnonzero(indexes[0].of_task(task))
    asked = indexes[0].asked[shown]
    places = [shown, *(partner_rows(asked, index.asked) for index in indexes[1:])]
    everywhere = np.logical_and.reduce([place >= 0 for place in places])
    rows = np.array([place[everywhere] for place in places], dtype=np.int32)
    correct = np.array([index.correct[row] for index, row in zip(indexes, rows, strict=True)], dtype=np.int8)
    answers = [_answer_hashes(run)[row] for run, row in zip(runs, rows, strict=True)]
    same_as = np.repeat(np.arange(len(runs), dtype=np.int8)[:, None], rows.shape[1], axis=1)
    for later in range(1, len(runs)):
        for earlier in reversed(range(later)):  # the first of equals is written last
            same_as[later][answers[later] == answers[earlier]] = earlier
    return Panel(rows, correct, same_as, int((~everywhere).sum()))


@cached(8)
def _answer_hashes(run: Folder) -> NDArray[np.uint64]:
    """(rows,) a hash of each answer's class."""
    table = open_predictions(run)
    sql = f"SELECT hash({table.answered_sql()}) AS answer FROM read_parquet(?)"
    hashes: NDArray[np.uint64] = fetch_table(run.connection, sql, [table.path])["answer"].to_numpy()
    return hashes


@cached(16)
def side_rows(runs: tuple[Folder, ...], spec: SideSpec) -> NDArray[np.int32]:
    """Places in ``panel(runs, spec.task)`` of the rows that the page lists, in its order."""
    found = panel(runs, spec.task)
    names = [run.name for run in runs]
    mask = found.matches(spec.pattern)
    for wanted, verdict in ((spec.right, RIGHT), (spec.wrong, WRONG)):
        for name in wanted:
            mask &= found.correct[names.index(name)] == verdict if name in names else False
    rows = np.flatnonzero(mask).astype(np.int32)
    if spec.order == "Least agreement first":
        rows = rows[np.argsort(-found.different()[rows], kind="stable")]
    rows.setflags(write=False)
    return rows


@cached(16)
def pattern_counts(runs: tuple[Folder, ...], task: str) -> Mapping[Pattern, int]:
    """Rows that show each pattern."""
    found = panel(runs, task)
    return {pattern: int(np.count_nonzero(found.matches(pattern))) for pattern in PATTERNS}


@dataclass(frozen=True)
class SideRow:
    """One row and the answer of each run to it, in the order of the runs.

    Attributes:
        different: how many different answers the runs give.
    """

    answers: tuple[Answer, ...]
    different: int

    @property
    def agreement(self) -> str:
        """``all right``, ``all wrong``, ``2 of 3 right``; '' where no metric judges single rows."""
        verdicts = [answer.correct for answer in self.answers if answer.correct is not None]
        if not verdicts:
            return ""
        right = sum(verdicts)
        if right == len(verdicts):
            return "all right"
        return f"{right} of {len(verdicts)} right" if right else "all wrong"

    @property
    def answers_given(self) -> str:
        """``same answer``, ``2 answers`` or ``all differ``."""
        if self.different == 1:
            return "same answer"
        return "all differ" if self.different == len(self.answers) else f"{self.different} answers"


def rows_at(runs: tuple[Folder, ...], task: str, places: Sequence[int]) -> list[SideRow]:
    """The rows at these places of ``panel``, with every run's answer."""
    found, different = panel(runs, task), panel(runs, task).different()
    columns = [
        answers_at(run, None, tuple(int(rows[place]) for place in places))
        for run, rows in zip(runs, found.rows, strict=True)
    ]
    return [
        SideRow(answers, int(different[place]))
        for place, answers in zip(places, zip(*columns, strict=True), strict=True)
    ]


@dataclass(frozen=True)
class PairAgreement:
    """Two runs on the same rows.

    Attributes:
        first, second: their places among the runs.
        same_answer: share of rows with the same answer.
        same_verdict: share of the rows judged in both that are right in both or wrong in both; None without any.
    """

    first: int
    second: int
    same_answer: float
    same_verdict: float | None


@cached(16)
def pair_agreements(runs: tuple[Folder, ...], task: str) -> Sequence[PairAgreement]:
    """Agreement of every two of the runs; empty without a common row."""
    found = panel(runs, task)
    if not found.rows.shape[1]:
        return []
    # Two runs agree on a row if the first run with their answer is the same.
    return [
        PairAgreement(
            first, second,
            float((found.same_as[first] == found.same_as[second]).mean()),
            _same_verdict(found.correct[first], found.correct[second]),
        )
        for first, second in combinations(range(len(runs)), 2)
    ]  # fmt: skip


def _same_verdict(first: NDArray[np.int8], second: NDArray[np.int8]) -> float | None:
    judged = (first >= 0) & (second >= 0)
    return float((first[judged] == second[judged]).mean()) if judged.any() else None
