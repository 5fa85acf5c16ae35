"""From a row on the screen and a key pressed to one line of the corrections log.

The corrections folder: append-only JSONL, one file a reviewer, on disk before the page answers.

The tags that keys 1–9 give: the kinds of failure that a team tells apart.

The row on the sample page as what a reviewer judges.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from dashboards.data.answers import RunAnswer
from dashboards.data.curated import RowDecision
from winnow.corrections import Action, Correction, is_torn
from winnow.errors import UserError

_FIELDS: dict[str, str] = {"relabel": "answer", "edit_question": "question", "tag": "tags"}


@dataclass(frozen=True)
class ReviewTarget:
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
    subject: ReviewTarget,
    action: Action,
    reviewer: str,
    *,
    new: str | None = None,
    tags: Sequence[str] = (),
    note: str = "",
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


_LONGEST_NAME = 60


def append(folder: Path, line: Correction) -> Path:
    """Add one line to the reviewer's file and return the file; several writers at once lose nothing.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = folder / file_name(line.reviewer)
    data = (line.model_dump_json() + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _end_last_line(file)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: the decision could not be written ({error.strerror}); nothing was recorded"
        ) from error
    return path


def file_name(reviewer: str) -> str:
    """A safe file name for a self-declared name; two names never share one."""
    plain = re.sub(r"[^a-z0-9]+", "-", reviewer.lower()).strip("-")[:_LONGEST_NAME]
    return f"{plain or 'reviewer'}-{hashlib.sha256(reviewer.encode()).hexdigest()[:8]}.jsonl"


def _end_last_line(file: BinaryIO) -> None:
    """A line that a crash cut off, of which nobody was told that it was recorded, is taken out; a whole one ended."""
    file.seek(0)
    written = file.read()
    last = written.rpartition(b"\n")[2]
    if last and is_torn(last):
        file.truncate(len(written) - len(last))
    elif last:
        file.write(b"\n")


TAGS_FILE = "tags.txt"
_DEFAULT = (
    "wrong object", "wrong attribute", "wrong count", "wrong relation", "misread text", "misread question",
    "invented", "format", "image quality",
)  # fmt: skip


def tags_of(folder: Path) -> tuple[str, ...]:
    """The lines of ``folder/tags.txt``, at most nine, else a set that suits questions about images."""
    try:
        lines = (folder / TAGS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return _DEFAULT
    return tuple(line.strip() for line in lines if line.strip())[:9] or _DEFAULT


def review_target(said: Sequence[RunAnswer], fates: Sequence[RowDecision]) -> ReviewTarget:
    """The evaluated row where a run answered it, else the row of the first curated set that holds it.

    Args:
        said: answers that are there; ``fates`` may only be empty if this is not.
    """
    for item in said:
        if item.answer:
            answer = item.answer
            return ReviewTarget(
                "evals", answer.sample_id, answer.content_hash, answer.question, answer.references, item.run.name
            )
    fate = fates[0]
    references = fate.answers or ((fate.answer,) if fate.answer else ())
    return ReviewTarget("curated", fate.sample_id, fate.content_hash, fate.question, references, fate.folder.name)
