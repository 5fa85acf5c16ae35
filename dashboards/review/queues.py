"""Queues: any list of rows that can be reviewed, as a value, as a parameter of the URL, and as its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode

import numpy as np

from dashboards.data.catalog import Catalog, Folder
from dashboards.data.engine import cached
from dashboards.data.filters import FilterSpec
from dashboards.review.assignment import Assignment, read_assignments
from dashboards.review.decided import decided
from dashboards.review.entries import (
    Entries,
    Parameters,
    content_digest,
    entries_of_ids,
    ids_of,
    last,
    moment,
    nothing,
    undecided,
)
from dashboards.review.lists.answers import answers, audit, side_by_side
from dashboards.review.lists.curated import duplicates, leaks, rule, suspect, threshold
from dashboards.review.lists.selection import selection
from dashboards.review.lists.training import losses, nearest
from winnow.corrections import same_person

ME = "me"


@dataclass(frozen=True)
class Queue:
    """A list of rows to review, as the URL names it.

    Every list takes ``undecided``: ``me`` leaves out what the reviewer has decided, ``anyone`` what anybody has,
    ``first`` puts what the reviewer has not decided first; and ``as_of``, the moment whose decisions count for that,
    so that the list stays as it is while it is worked on.

    Attributes:
        name: a key of ``LISTS``.
        parameters: (name, value) pairs that the list reads.
    """

    name: str = "answers"
    parameters: tuple[tuple[str, str], ...] = ()

    def to_parameter(self) -> str:
        """The queue as one URL parameter: a query string in itself."""
        listed = [] if self.name == "answers" else [("list", self.name)]
        return urlencode([*listed, *self.parameters])

    @classmethod
    def from_parameter(cls, text: str | None) -> Queue:
        """The queue that a URL names; without one, or with a list that does not exist, all answers as stored.

        Args:
            text: '' is the default of the failures page: wrong answers, the worst first.
        """
        found = parse_qs(text or "")
        name = found.pop("list", ["answers"])[-1]
        if text is None or name not in LISTS:
            return cls("answers", (("outcome", "All"), ("sort", "As stored")))
        return cls(name, tuple((key, value) for key, values in found.items() for value in values))

    def about(self, run: str, base: str) -> Queue:
        """The queue with the runs that it is about, which the URL holds for all pages."""
        own = tuple((name, value) for name, value in self.parameters if name not in ("run", "base"))
        return Queue(self.name, (*own, ("run", run), ("base", base)))

    def values(self) -> dict[str, list[str]]:
        """Parameter → its values."""
        found: dict[str, list[str]] = {}
        for name, value in self.parameters:
            found.setdefault(name, []).append(value)
        return found

    @property
    def moves(self) -> bool:
        """Whether decisions change which rows the queue holds, because no moment is named."""
        known = {name for name, _ in self.parameters}
        return (self.name == "conflicts" or "undecided" in known) and "as_of" not in known

    @property
    def is_blind(self) -> bool:
        """Whether a row's reviewer must not see what others said before they have decided."""
        return self.name == "assigned"

    def fixed(self) -> Queue:
        """The queue as it is now, whatever is decided from here on."""
        if not self.moves:
            return self
        now = datetime.now(UTC).isoformat()
        return Queue(self.name, (*self.parameters, ("as_of", now)))


def queue_of(spec: FilterSpec) -> Queue:
    """The answers of a view of the failures page."""
    listed = ((name, value if isinstance(value, list) else [value]) for name, value in spec.to_parameters().items())
    return Queue("answers", tuple((name, value) for name, values in listed for value in values))


def entries(catalog: Catalog, queue: Queue, reviewer: str = "") -> Entries:
    """The rows of a queue for a reviewer; raises UserError for a broken table."""
    parameters = {**queue.values(), ME: [reviewer]}
    found = LISTS[queue.name](catalog, parameters)
    wanted = last(parameters, "undecided")
    if wanted not in (ME, "anyone", "first"):
        return found
    known = decided(catalog.root / "corrections", moment(parameters))
    return _left(found, known.anyone if wanted == "anyone" else known.person(reviewer), wanted == "first")


@cached(16)
def _left(found: Entries, ids: frozenset[str], keep: bool) -> Entries:
    """The rows that have none of ``ids``; with ``keep`` the others after them."""
    left = undecided(found, ids)
    return found.take(np.argsort(~left, kind="stable") if keep else left)


def assignment_entries(catalog: Catalog, assignment: Assignment) -> Entries:
    """The whole queue that was split; an empty one that says so where it holds other rows now."""
    found = entries(catalog, Queue.from_parameter(assignment.queue), assignment.made_by)
    if len(found) == assignment.total and content_digest(found) == assignment.digest:
        return found
    return nothing(
        assignment.title,
        f"The rows of this queue have changed since it was split at {assignment.made_at:%Y-%m-%d %H:%M} UTC:"
        " split it anew. What was decided is kept.",
    )


def _assigned(catalog: Catalog, parameters: Parameters) -> Entries:
    """The share of ``who`` in the assignment ``name``; ``me`` is the reviewer at the keyboard."""
    assignment = _assignment(catalog, last(parameters, "name"))
    if assignment is None:
        return nothing("My queue", "There is no such assignment; the page “Queues” lists them.")
    named = last(parameters, "who")
    who = last(parameters, ME) if named in ("", ME) else named
    if not assignment.holds(who):
        return nothing(assignment.title, f"{who or 'Nobody'} has no share of this queue: enter the name it was given.")
    return _share(assignment_entries(catalog, assignment), assignment, same_person(who))


@cached(32)
def _share(found: Entries, assignment: Assignment, person: str) -> Entries:
    return found.take(assignment.share(person)) if len(found) else found


def _conflicts(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows on which reviewers disagree, the newest decision first.

    ``name`` takes those that an assignment gave to two people.
    """
    title = "Conflicts between reviewers"
    disputed = decided(catalog.root / "corrections", moment(parameters)).disputed
    if name := last(parameters, "name"):
        assignment = _assignment(catalog, name)
        if assignment is None:
            return nothing(title, "There is no such assignment; the page “Queues” lists them.")
        twice = shared_ids(assignment_entries(catalog, assignment), assignment)
        disputed = tuple(item for item in disputed if item[0] in twice)
    if not disputed:
        return nothing(title, "No two reviewers disagree about a row.")
    return _disputed(title, disputed, tuple(catalog.finished("evals") + catalog.finished("curated")))


@cached(16)
def _disputed(title: str, disputed: tuple[tuple[str, str], ...], folders: tuple[Folder, ...]) -> Entries:
    return entries_of_ids(title, disputed, folders)


@cached(32)
def shared_ids(found: Entries, assignment: Assignment) -> frozenset[str]:
    """The ids of the rows that an assignment gave to two people; ``found`` is of ``assignment_entries``."""
    return frozenset(ids_of(found, assignment.shared())) if len(found) else frozenset()


def _assignment(catalog: Catalog, name: str) -> Assignment | None:
    return next((one for one in read_assignments(catalog.root)[0] if one.assignment_id == name), None)


LISTS: dict[str, Callable[[Catalog, Parameters], Entries]] = {
    "answers": answers,
    "assigned": _assigned,
    "audit": audit,
    "conflicts": _conflicts,
    "duplicates": duplicates,
    "leaks": leaks,
    "losses": losses,
    "nearest": nearest,
    "rule": rule,
    "runs": side_by_side,
    "selection": selection,
    "suspect": suspect,
    "threshold": threshold,
}
