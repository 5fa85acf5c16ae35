"""What became of decisions: what curations made of them, and which runs count them in their corrected score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards.data.catalog import Catalog, Folder, scores_of
from dashboards.data.engine import cached
from dashboards.data.review_log import Decision, Log
from dashboards.data.reviews import applied, outcomes_of
from winnow.corrections import Correction


def scored(runs: Sequence[Folder], line: Correction) -> str:
    """In which runs' corrected scores a decision counts, in words; '' where no run has met it.

    Raises:
        UserError: a report is unreadable.
    """
    by_outcome: dict[str, list[str]] = {}
    for run in runs:
        outcome = outcomes_of(run).get(line.correction_id, "elsewhere")
        if outcome != "elsewhere":
            by_outcome.setdefault(outcome, []).append(run.name)
    return "; ".join(f"{outcome} in {', '.join(names)}" for outcome, names in by_outcome.items())


def is_about_evaluation(line: Correction, runs: frozenset[str]) -> bool:
    """Whether a decision is about a row of an evaluation, so that no curation waits for it.

    Args:
        runs: names of the evaluations.
    """
    return line.action == "exclude_from_eval" or line.run in runs


@dataclass(frozen=True)
class Waiting:
    """Decisions that count and were not used yet.

    Attributes:
        curation: how many, about training rows, no curation has seen.
        scores: run → how many its corrected score has not seen, without those about rows that were met in runs of
            other tasks; only runs with any.
        decided: how many decisions about rows of evaluations count.
    """

    curation: int
    scores: Mapping[str, int]
    decided: int


def waiting(log: Log, catalog: Catalog) -> Waiting:
    """What the decisions of a log wait for.

    Raises:
        UserError: a report is unreadable.
    """
    return _waiting(log, tuple(catalog.finished("evals")), tuple(catalog.finished("curated")))


@cached(8)
def _waiting(log: Log, runs: tuple[Folder, ...], sets: tuple[Folder, ...]) -> Waiting:
    names = frozenset(run.name for run in runs)
    active = [item.line for item in log.decisions if item.state == "active"]
    counting = [line for line in active if line.action not in ("tag", "note")]  # these change nothing anywhere
    about_answers = [line for line in counting if is_about_evaluation(line, names)]
    seen = applied(sets)
    rest = [line for line in counting if not is_about_evaluation(line, names)]
    tasks = {run.name: _tasks(run) for run in runs}
    scores: dict[str, int] = {}
    for run in runs:
        outcomes = outcomes_of(run)
        others = {name for name in names if not tasks[name] & tasks[run.name]}
        count = sum(line.run not in others and line.correction_id not in outcomes for line in about_answers)
        if count:
            scores[run.name] = count
    return Waiting(sum(line.correction_id not in seen for line in rest), scores, len(about_answers))


def _tasks(run: Folder) -> frozenset[str]:
    tasks = scores_of(run).get("tasks")
    return frozenset(tasks) if isinstance(tasks, Mapping) else frozenset()


def sentences(left: Waiting) -> list[str]:
    """What waits, in words."""
    found = []
    if left.curation:
        found.append(f"{_decisions_wait(left.curation)} for the next curation.")
    if left.scores:
        most = max(left.scores.values())
        runs = f"of {next(iter(left.scores))}" if len(left.scores) == 1 else f"of {len(left.scores)} runs"
        found.append(f"{_decisions_wait(most)} for the corrected score {runs}.")
    if not found:
        found.append("The last curation and the corrected scores have seen every decision that counts.")
    return found


def _decisions_wait(count: int) -> str:
    return f"{count:,} {'decision waits' if count == 1 else 'decisions wait'}"


def words_of(decisions: Sequence[Decision], catalog: Catalog) -> dict[str, str]:
    """correction_id → what became of the decision, in words; without those that count no more.

    Raises:
        UserError: a report is unreadable.
    """
    runs, made = catalog.finished("evals"), applied(tuple(catalog.finished("curated")))
    names = frozenset(run.name for run in runs)
    found = {}
    for item in decisions:
        if item.state not in ("superseded", "undone"):
            made_here = made.get(item.line.correction_id, "")
            found[item.line.correction_id] = _words(item, made_here, runs, names)
    return found


def _words(item: Decision, made: str, runs: Sequence[Folder], names: frozenset[str]) -> str:
    in_scores, waits = scored(runs, item.line), item.state == "active"
    if is_about_evaluation(item.line, names):
        return in_scores or ("not yet scored" if waits else "")
    if made == "elsewhere" and in_scores:
        return in_scores
    in_sets = f"{made} by curation" if made else "not yet curated" if waits else ""
    return "; ".join(part for part in (in_sets, in_scores) if part)
