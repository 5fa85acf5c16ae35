"""The queues that make sense for what lies in the data folder now, and how far each has come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.data.catalog import Catalog, Folder
from dashboards.data.curated import rule_actions
from dashboards.data.duplicates import duplicate_kinds, leak_kinds
from dashboards.data.filters import View
from dashboards.data.reviews import Agreement, Decision, agreements
from dashboards.data.suspects import has_suspects
from dashboards.data.training import LOSSES
from dashboards.review.assignment import Assignment
from dashboards.review.decided import decided
from dashboards.review.entries import undecided
from dashboards.review.queues import Queue, assignment_entries, entries, shared_ids


@dataclass(frozen=True)
class Offered:
    """A queue as the page lists it: its name for people, how many rows it holds, and how many are left to somebody."""

    queue: Queue
    label: str
    total: int
    left: int


def offered(catalog: Catalog, view: View | None, curated: Folder | None, reviewer: str) -> list[Offered]:
    """Every queue with at least one row, of a run, the newest training run, a curated set and the reviewers.

    Raises:
        UserError: a table is broken.
    """
    mine = decided(catalog.root / "corrections").person(reviewer)
    found = []
    for queue, label in [*_of_model(catalog, view), *(_of_set(curated) if curated else ())]:
        if total := len(rows := entries(catalog, queue, reviewer)):
            found.append(Offered(queue, label, total, int(undecided(rows, mine).sum())))
    return found


def _of_model(catalog: Catalog, view: View | None) -> Iterable[tuple[Queue, str]]:
    if view:
        run = (("run", view.run.name),)
        yield Queue("answers", (*run, ("base", view.spec.base))), "Wrong answers, the worst first"
        if view.base:
            broken = Queue("answers", (*run, ("base", view.base.name), ("outcome", "Broken")))
            yield broken, f"Broken: right before, in {view.base.name}"
        yield Queue("audit", run), "Audit: a random sample of right and wrong answers"
    trained = next((run for run in catalog.finished("runs") if (run.path / LOSSES).is_file()), None)
    if trained:
        yield Queue("losses", (("training", trained.name),)), f"Highest loss in training {trained.name}"
    yield Queue("conflicts"), "Conflicts between reviewers"


def _of_set(folder: Folder) -> Iterable[tuple[Queue, str]]:
    of_set = (("set", folder.name),)
    for name in rule_actions(folder):
        yield Queue("rule", (*of_set, ("rule", name))), f"Rule {name}"
    yield Queue("duplicates", of_set), "Duplicates, each beside the row that was kept"
    for kind in duplicate_kinds(folder):
        yield Queue("duplicates", (*of_set, ("kind", kind))), f"Duplicates: {kind}"
    yield Queue("leaks", of_set), "Leaks: training rows that show an image of an evaluation"
    kinds = leak_kinds(folder)
    for kind in kinds if len(kinds) > 1 else ():
        yield Queue("leaks", (*of_set, ("kind", kind))), f"Leaks: {kind}"
    by_signals = "Answers that are most suspect" if has_suspects(folder) else "Answers that fit their image least"
    yield Queue("suspect", of_set), by_signals


@dataclass(frozen=True)
class Progress:
    """How far the reviewers of an assignment have come.

    Attributes:
        problem: why it cannot go on, as a sentence; '' where it can.
        done: reviewer → (rows decided, rows of their share).
        twice: rows that two people judge.
        agreements: pairs of reviewers on what both have judged of these.
        disputed: rows of these on which they disagree.
    """

    problem: str
    done: dict[str, tuple[int, int]]
    twice: int
    agreements: tuple[Agreement, ...]
    disputed: int


def progress(catalog: Catalog, assignment: Assignment, decisions: Iterable[Decision]) -> Progress:
    """Count what the reviewers of an assignment have decided; raises UserError for a broken table."""
    found = assignment_entries(catalog, assignment)
    if found.problem or not len(found):
        return Progress(found.problem or "The queue is empty now.", {}, 0, (), 0)
    known = decided(catalog.root / "corrections")
    done = {}
    for name in assignment.names:
        places = assignment.share(name)
        left = undecided(found, known.person(name))[places]
        done[name] = (len(places) - int(left.sum()), len(places))
    ids = shared_ids(found, assignment)
    both = [item for item in decisions if item.line.sample_id in ids and assignment.holds(item.line.reviewer)]
    disputed = sum(sample_id in ids for sample_id, _ in known.disputed)
    return Progress("", done, len(assignment.shared()), tuple(agreements(both)), disputed)
