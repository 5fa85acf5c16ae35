"""What a reviewer asked to see: as a value, as URL parameters, as SQL with bound values, and the folders it names.

One filter finds near misses: answers that score as wrong but nearly say what a reference says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from dashboards.data.catalog import Catalog, Folder
from dashboards.data.engine import quoted
from dashboards.data.parameters import changed
from dashboards.data.predictions import RIGHT, STATUSES, TRUNCATED, WRONG, Predictions

# The values are what the page and the URL show.
Outcome = Literal["Wrong", "Right", "Fixed", "Broken", "Both right", "Both wrong", "All"]
Order = Literal["Worst first", "Best first", "As stored"]
NO_BASE = "no comparison"
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
# Outcomes that need a baseline, and how the baseline answered.
BEFORE: dict[Outcome, int] = {"Fixed": WRONG, "Broken": RIGHT, "Both right": RIGHT, "Both wrong": WRONG}
ORDERS: tuple[Order, ...] = get_args(Order)
# Ordered by how much has to be forgiven, least first.
NearMiss = Literal["spelling", "plural", "containment"]
NEAR_MISSES: tuple[NearMiss, ...] = get_args(NearMiss)
NEAR_MISS_HELP = {
    "spelling": "equal but for case, punctuation, articles and number words",
    "plural": "equal but for an s at the end of words",
    "containment": "one holds the other as whole words",
}
_NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_SLICES = {"question_types": "slice_question_type", "answer_types": "slice_answer_type"}
_SEARCHED = ("sample_id", "question", "raw", "extracted")
_PARAMETERS = {
    "run": "run", "base": "base", "task": "task", "question_types": "qt", "answer_types": "at", "statuses": "status",
    "marks": "mark", "where": "where", "near": "near", "outcome": "outcome", "metric": "metric", "below": "below",
    "text": "q", "order": "sort", "expected": "expected", "answered": "answered",
    "expected_not": "expected_not", "answered_not": "answered_not",
}  # fmt: skip


@dataclass(frozen=True)
class FilterSpec:
    """One view of the failures page.

    Attributes:
        run: name of an evaluation; '' is the newest.
        base: name of the evaluation to compare with; '' is the newest other one, ``NO_BASE`` compares with nothing.
        task, question_types, answer_types, statuses: '' or empty keeps all.
        marks: ``truncated`` keeps the rows whose reply was cut off, whatever their status.
        where: slices as ``name=value``, for any slice column; all must hold.
        near: wrong answers that are near a reference in one of these ways, see ``NEAR_MISSES``.
        outcome: ``Fixed`` and ``Broken`` are relative to ``base``.
        metric, below: keeps rows whose ``metric`` is lower than ``below``.
        expected, answered: classes of the reference and of the answer, see ``Predictions.expected_sql``.
        expected_not, answered_not: classes that are left out: "all other" of a confusion matrix.
        text: a substring of id, question, answer or a reference, in any case.
    """

    run: str = ""
    base: str = ""
    task: str = ""
    question_types: tuple[str, ...] = ()
    answer_types: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    outcome: Outcome = "Wrong"
    metric: str = ""
    below: float | None = None
    text: str = ""
    order: Order = "Worst first"
    expected: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    expected_not: tuple[str, ...] = ()
    answered_not: tuple[str, ...] = ()

    def to_parameters(self) -> dict[str, str | list[str]]:
        """The URL parameters of this view; defaults are left out."""
        return changed(self, _PARAMETERS)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Sequence[str]]) -> FilterSpec:
        """The view that URL parameters name. Unknown parameters and values that do not fit are left out."""
        last = {name: values[-1] for name, values in parameters.items() if values}
        outcome, order = last.get("outcome"), last.get("sort")
        return cls(
            run=last.get("run", ""),
            base=last.get("base", ""),
            task=last.get("task", ""),
            question_types=tuple(parameters.get("qt", ())),
            answer_types=tuple(parameters.get("at", ())),
            statuses=tuple(status for status in parameters.get("status", ()) if status in STATUSES),
            marks=tuple(mark for mark in parameters.get("mark", ()) if mark == TRUNCATED),
            where=tuple(parameters.get("where", ())),
            near=tuple(way for way in parameters.get("near", ()) if way in NEAR_MISSES),
            outcome=next((known for known in OUTCOMES if known == outcome), "Wrong"),
            metric=last.get("metric", ""),
            below=_number(last.get("below", "")),
            text=last.get("q", ""),
            order=next((known for known in ORDERS if known == order), "Worst first"),
            expected=tuple(parameters.get("expected", ())),
            answered=tuple(parameters.get("answered", ())),
            expected_not=tuple(parameters.get("expected_not", ())),
            answered_not=tuple(parameters.get("answered_not", ())),
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class View:
    """A FilterSpec whose run and baseline exist and are named, with their folders."""

    spec: FilterSpec
    run: Folder
    base: Folder | None


def resolve_filters(catalog: Catalog, spec: FilterSpec) -> View | None:
    """Resolve the names in ``spec``; unknown ones fall back to the defaults. None without any evaluation."""
    evaluations = catalog.finished("evals")
    run = catalog.find("evals", spec.run) or next(iter(evaluations), None)
    if run is None:
        return None
    others = [folder for folder in evaluations if folder.name != run.name]
    wanted = next((folder for folder in others if folder.name == spec.base), None)
    base = None if spec.base == NO_BASE else wanted or next(iter(others), None)
    named = replace(spec, run=run.name, base=base.name if base else NO_BASE)
    return View(named, run, base)


def conditions(spec: FilterSpec, table: Predictions) -> tuple[str, list[Any]]:
    """The WHERE expression of a view over the columns of ``table`` plus ``correct``; the baseline's part is not in it.

    Returns: SQL made of literals of this file and whitelisted column names, and the values to bind.
    """
    clauses, values = ["true"], list[Any]()
    if spec.task:
        clauses.append("task = ?")
        values.append(spec.task)
    for field, column in _SLICES.items():
        if (wanted := getattr(spec, field)) and column in table.columns:
            clauses.append(f"{quoted(column)} IN (SELECT unnest(?))")
            values.append(list(wanted))
    for term in spec.where:
        name, _, value = term.partition("=")
        if name in (known := table.slice_sql()):
            clauses.append(f"{known[name]} = ?")
            values.append(value)
    if spec.near:
        clauses.append(near_miss_rows_sql(table.correct_sql()))
        values += [table.path, list(spec.near)]
    if spec.statuses:
        clauses.append("status IN (SELECT unnest(?))")
        values.append(list(spec.statuses))
    if spec.marks:
        clauses.append(TRUNCATED if TRUNCATED in table.columns else "false")
    if spec.metric in table.metrics and spec.below is not None:
        clauses.append(f"{quoted(spec.metric)} < ?")
        values.append(spec.below)
    classes = (
        (table.expected_sql(), spec.expected, spec.expected_not),
        (table.answered_sql(), spec.answered, spec.answered_not),
    )
    for sql, kept, left_out in classes:
        for operator, listed in (("IN", kept), ("NOT IN", left_out)):
            if listed:
                clauses.append(f"{sql} {operator} (SELECT lower(unnest(?)))")
                values.append(list(listed))
    clauses.append(outcome_sql(spec.outcome))
    if spec.text:
        places = [f"contains(lower({column}), lower(?))" for column in _SEARCHED if column in table.columns]
        places.append("contains(lower(array_to_string(\"references\", ' ')), lower(?))")
        clauses.append(f"({' OR '.join(places)})")
        values += [spec.text] * len(places)
    return " AND ".join(clauses), values


def outcome_sql(outcome: Outcome) -> str:
    """Boolean SQL over ``correct``: what an outcome requires of the run itself; ``BEFORE`` has the baseline's part."""
    if outcome == "All":
        return "true"
    return "correct" if outcome in ("Right", "Fixed", "Both right") else "NOT correct"


# What ``near_miss_case`` compares. Selected as columns first, a query is planned in a third of the time.
PLAIN_COLUMNS = "plain_answer", "plain_references"


def plain_sql() -> tuple[str, str]:
    """SQL of an answer and of its references as plain words; see ``PLAIN_COLUMNS``."""
    return _plain("coalesce(extracted, raw, '')"), f'list_transform("references", lambda r: {_plain("r")})'


def near_miss_sql(correct: str) -> str:
    """SQL of which of ``NEAR_MISSES`` a wrong answer is, '' where it is not wrong or too far off.

    Args:
        correct: Boolean SQL, see ``Predictions.correct_sql``.
    """
    return near_miss_case(correct, *plain_sql())


def near_miss_case(correct: str, answer: str, references: str) -> str:
    """``near_miss_sql`` of an answer and references that are plain already, such as ``PLAIN_COLUMNS``."""
    same = f"list_contains({references}, {answer})"
    singular = f"list_contains(list_transform({references}, lambda r: {_singular('r')}), {_singular(answer)})"
    holds = f"contains(' ' || {answer} || ' ', ' ' || r || ' ') OR contains(' ' || r || ' ', ' ' || {answer} || ' ')"
    contained = f"len(list_filter({references}, lambda r: r <> '' AND ({holds}))) > 0"
    return f"""CASE WHEN ({correct}) IS DISTINCT FROM false OR status IN ('refused', 'failed') OR {answer} = '' THEN ''
        WHEN {same} THEN 'spelling' WHEN {singular} THEN 'plural' WHEN {contained} THEN 'containment' ELSE '' END"""


def near_miss_rows_sql(correct: str) -> str:
    """Boolean SQL: is the row a near miss of one of the kinds in a bound list? Binds the table's path, then the list.

    Each pair of answer and references is judged once: a million rows hold far fewer pairs.
    """
    pair = "hash(coalesce(extracted, raw, ''), \"references\", status)"
    return f"""(NOT correct AND {pair} IN (
        SELECT pair FROM (
            SELECT {pair} AS pair, any_value(extracted) AS extracted, any_value(raw) AS raw,
                   any_value("references") AS "references", any_value(status) AS status
            FROM read_parquet(?) WHERE NOT ({correct}) GROUP BY 1
        ) WHERE {near_miss_sql("false")} IN (SELECT unnest(?))))"""


def _plain(text: str) -> str:
    """SQL: lower-case words without punctuation and articles, number words as digits."""
    words = f"trim(regexp_replace(lower({text}), '([^\\p{{L}}\\p{{N}}]|\\b(an?|the)\\b)+', ' ', 'g'))"
    digits = f"' ' || replace({words}, ' ', '  ') || ' '"  # each word has blanks of its own
    for number, word in enumerate(_NUMBER_WORDS):
        digits = f"replace({digits}, ' {word} ', ' {number} ')"
    any_number = f"regexp_matches({words}, '\\b({'|'.join(_NUMBER_WORDS)})\\b')"
    return f"CASE WHEN {any_number} THEN trim(replace({digits}, '  ', ' ')) ELSE {words} END"


def _singular(text: str) -> str:
    """SQL: plain words without any e and s at their end: "buses" and "bus" both become "bu"."""
    return f"regexp_replace({text}, '([^ es])[es]+( |$)', '\\1\\2', 'g')"
