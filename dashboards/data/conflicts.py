"""Rows on which reviewers disagree, side by side, and the line that settles such a conflict."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dashboards.data.answers import answers_of_all
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.curated import row_decisions
from dashboards.data.engine import cached
from dashboards.data.review_log import Decision, Log, decisions_on
from winnow.corrections import Action, Aspect, Correction, aspect_of, meaning, same_person
from winnow.errors import UserError


@dataclass(frozen=True)
class Side:
    """What one or several people say alike, in order of time; the last line's text is the one that counts."""

    lines: tuple[Correction, ...]

    @property
    def line(self) -> Correction:
        """The line that stands for all."""
        return self.lines[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """Who says so."""
        return tuple(line.reviewer for line in self.lines)


@dataclass(frozen=True)
class Conflict:
    """People's verdicts on one content of a row that exclude each other, or their new questions.

    Attributes:
        sides: the earliest first.
    """

    sample_id: str
    content_hash: str
    aspect: Aspect
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Conflicts:
    """What is left to settle, the longest open first, and how many conflicts are settled."""

    left: tuple[Conflict, ...]
    settled: int

    @property
    def total(self) -> int:
        """All conflicts that are settled or open."""
        return len(self.left) + self.settled


@cached(4)
def conflicts(log: Log) -> Conflicts:
    """The conflicts of a log."""
    disputed: dict[tuple[str, str, Aspect], list[Correction]] = {}
    settled = set()
    for decision in reversed(log.decisions):
        line = decision.line
        row = line.sample_id, line.content_hash, aspect_of(line)
        if decision.state == "conflict":
            disputed.setdefault(row, []).append(line)
        elif decision.state == "active" and line.settles:
            settled.add(row)
    left = tuple(Conflict(*row, sides_of(lines)) for row, lines in disputed.items())
    return Conflicts(left, len(settled - disputed.keys()))


def sides_of(lines: Iterable[Correction]) -> tuple[Side, ...]:
    """Lines, in order of time, grouped by what they mean."""
    sides: dict[tuple[str, ...], list[Correction]] = {}
    for line in lines:
        sides.setdefault(meaning(line), []).append(line)
    return tuple(Side(tuple(alike)) for alike in sides.values())


def settle(
    conflict: Conflict, known: Sequence[Decision], action: Action, reviewer: str, *,
    new: str | list[str] | None = None, tags: Sequence[str] = (), note: str = "",
) -> Correction:  # fmt: skip
    """A line of ``reviewer`` that ends a conflict.

    It overrules what others have said so far about this content of the row, also what comes back when they undo;
    whoever decides anew opens the conflict again.

    Args:
        known: the decisions about the row, see ``dashboards.data.review_log.decisions_on``.

    Raises:
        UserError: the reviewer has no name, or a new text is empty.
    """
    if not reviewer.strip():
        raise UserError("Enter your name first: every decision carries it")
    texts = new if isinstance(new, list) else [new or ""]
    if action in ("relabel", "edit_question") and not all(text.strip() for text in texts):
        raise UserError("The new text is empty; write it, or choose another verdict")
    others = [
        item.line
        for item in known
        if aspect_of(item.line) == conflict.aspect
        and item.line.content_hash == conflict.content_hash
        and item.state != "undone"
        and same_person(item.line.reviewer) != same_person(reviewer)
    ]
    last = max((side.line for side in conflict.sides), key=lambda line: line.at)
    old = next((side.line.old for side in conflict.sides if side.line.action == action), None)
    return Correction(
        correction_id=uuid.uuid4().hex,
        sample_id=conflict.sample_id,
        content_hash=conflict.content_hash,
        field={"relabel": "answer", "edit_question": "question"}.get(action, "decision"),
        old=old,
        new=new,
        action=action,
        tags=tuple(tags),
        note=note.strip(),
        reviewer=reviewer.strip(),
        at=datetime.now(UTC),
        run=last.run,
        settles=tuple(line.correction_id for line in others),
    )


def agree_with(conflict: Conflict, known: Sequence[Decision], side: Side, reviewer: str, note: str = "") -> Correction:
    """The line that settles a conflict as one side says; raises like ``settle``."""
    line = side.line
    return settle(conflict, known, line.action, reviewer, new=line.new, tags=line.tags, note=note)


def last_settlement(log: Log, reviewer: str) -> Correction | None:
    """The newest line of a reviewer that settles a conflict and still counts."""
    return next(
        (
            item.line
            for item in log.decisions
            if item.line.settles
            and item.state in ("active", "conflict")
            and same_person(item.line.reviewer) == same_person(reviewer)
        ),
        None,
    )


def still_open(folder: Path, conflict: Conflict) -> list[Decision] | None:
    """The decisions about the row of a conflict as they are now; None where it ended, or changed, in the meantime."""
    known = decisions_on(folder, conflict.sample_id)
    lines = [
        item.line
        for item in reversed(known)
        if item.state == "conflict"
        and aspect_of(item.line) == conflict.aspect
        and item.line.content_hash == conflict.content_hash
    ]
    return known if sides_of(lines) == conflict.sides else None


@dataclass(frozen=True)
class JudgedRow:
    """The row of a conflict as it is now.

    Attributes:
        folder: where its pictures are found.
        answers: (run, text) of every evaluation that asked it.
        is_same: it still has the content that was judged.
    """

    folder: Folder
    image_keys: tuple[str | None, ...]
    question: str
    references: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
    is_same: bool


def judged_row(catalog: Catalog, conflict: Conflict) -> JudgedRow | None:
    """The row as the evaluations and curated sets hold it, rather with the content that was judged; None if it is gone.

    Raises:
        UserError: a table is broken.
    """
    asked = answers_of_all(tuple(catalog.finished("evals")), conflict.sample_id)
    answered = [(item.run, item.answer) for item in asked if item.answer]
    said = tuple((run.name, answer.raw if answer.extracted is None else answer.extracted) for run, answer in answered)
    rows = [
        JudgedRow(run, answer.image_keys, answer.question, answer.references, said,
                  answer.content_hash == conflict.content_hash)
        for run, answer in answered
    ]  # fmt: skip
    for row in row_decisions(tuple(catalog.finished("curated")), conflict.sample_id):
        references = row.answers or ((row.answer,) if row.answer else ())
        is_same = row.content_hash == conflict.content_hash
        rows.append(JudgedRow(row.folder, row.image_keys, row.question, references, said, is_same))
    return next((row for row in rows if row.is_same), rows[0] if rows else None)
