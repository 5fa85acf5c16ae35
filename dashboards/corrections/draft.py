"""From a row on the screen and a key pressed to one line of the corrections log."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from winnow.corrections import Action, Correction
from winnow.errors import UserError

_FIELDS: dict[str, str] = {"relabel": "answer", "edit_question": "question", "tag": "tags"}


@dataclass(frozen=True)
class Subject:
    """The row that a reviewer judges, as it stood when it was shown.

    Attributes:
        kind: ``evals`` for a row of an evaluation, ``curated`` for a training row.
        content_hash: ``winnow.corrections.content_hash`` of the row; a later change makes the line stale.
        run: name of the folder in which it was met.
    """

    kind: Literal["evals", "curated"]
    sample_id: str
    content_hash: str
    question: str
    references: tuple[str, ...]
    run: str


def decide(
    subject: Subject, action: Action, reviewer: str, *, new: str | None = None, tags: Sequence[str] = (), note: str = ""
) -> Correction:
    """A line that says ``action`` about ``subject``, with what it replaces.

    Raises:
        UserError: there is no name, or the new text is empty.
    """
    if not reviewer.strip():
        raise UserError("Enter your name first: every decision carries it")
    if action in ("relabel", "edit_question") and not (new or "").strip():
        raise UserError("The new text is empty; write it, or drop the row instead")
    old = {"relabel": list(subject.references), "edit_question": subject.question}.get(action)
    return Correction(
        correction_id=uuid.uuid4().hex,
        sample_id=subject.sample_id,
        content_hash=subject.content_hash,
        field=_FIELDS.get(action, "decision"),
        old=old,
        new=new.strip() if new else None,
        action=action,
        tags=tuple(tags),
        note=note.strip(),
        reviewer=reviewer.strip(),
        at=datetime.now(UTC),
        run=subject.run,
    )


def undo(line: Correction, reviewer: str) -> Correction:
    """A line that takes ``line`` back; only its own reviewer can.

    Raises:
        UserError: it is somebody else's.
    """
    if line.reviewer != reviewer.strip():
        raise UserError(f"Only {line.reviewer} can undo this decision; add one of your own instead")
    return Correction(
        correction_id=uuid.uuid4().hex,
        sample_id=line.sample_id,
        content_hash=line.content_hash,
        action="undo",
        reviewer=line.reviewer,
        at=datetime.now(UTC),
        run=line.run,
        undoes=line.correction_id,
    )
