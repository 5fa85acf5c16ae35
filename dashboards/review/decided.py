"""Who has decided about which rows, now or at any moment before: the log only grows, so it can be read as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dashboards.data.engine import cached
from dashboards.data.review_log import Decision, Log, decisions_of, log_of
from winnow.corrections import read_corrections, same_person

_NO_VERDICT = ("tag", "note", "undo")


@dataclass(frozen=True, eq=False)
class Decided:
    """Rows with a decision, and rows on which people disagree.

    Attributes:
        by: person (of ``winnow.corrections.same_person``) → the ids that they decided about.
        anyone: the ids that anyone decided about.
        disputed: (id, folder in which it was judged) of each row in conflict, the newest first.
    """

    by: Mapping[str, frozenset[str]]
    anyone: frozenset[str]
    disputed: tuple[tuple[str, str], ...]

    def person(self, name: str) -> frozenset[str]:
        """The ids that a person decided about; empty for nobody."""
        return self.by.get(same_person(name), frozenset())


def decided(folder: Path, as_of: datetime | None = None) -> Decided:
    """What the logs in ``folder`` say, now or as they stood at a moment.

    Raises:
        UserError: a line of the folder is not a correction.
    """
    if as_of is None or as_of > datetime.now(UTC):
        return _now(log_of(folder))
    return _at(folder, as_of)


@cached(4)
def _now(log: Log) -> Decided:
    return _summary(log.decisions)


@cached(32)
def _at(folder: Path, as_of: datetime) -> Decided:
    """Later lines change nothing about a moment that has passed."""
    return _summary(decisions_of([line for line in read_corrections(folder) if line.at <= as_of]))


def _summary(decisions: Sequence[Decision]) -> Decided:
    counting = [item for item in decisions if item.state != "undone" and item.line.action not in _NO_VERDICT]
    by: dict[str, set[str]] = {}
    for item in counting:
        by.setdefault(same_person(item.line.reviewer), set()).add(item.line.sample_id)
    disputed: dict[str, str] = {}
    for item in counting:
        if item.state == "conflict":
            disputed.setdefault(item.line.sample_id, item.line.run)
    return Decided(
        {person: frozenset(ids) for person, ids in by.items()},
        frozenset(item.line.sample_id for item in counting),
        tuple(disputed.items()),
    )


def visible_to(decisions: Iterable[Decision], name: str, known: Decided) -> list[Decision]:
    """The decisions that a person may see who has to judge on their own: theirs, and those about rows they judged."""
    mine, person = known.person(name), same_person(name)
    return [item for item in decisions if item.line.sample_id in mine or same_person(item.line.reviewer) == person]
