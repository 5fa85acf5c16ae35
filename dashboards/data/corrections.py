"""Reviewers' decisions on their way to disk: one line of append-only JSONL a decision, one file a reviewer."""

from __future__ import annotations

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
from winnow.files import locked

TAGS_FILE = "tags.txt"
_DEFAULT_TAGS = (
    "wrong object", "wrong attribute", "wrong count", "wrong relation", "misread text", "misread question",
    "invented", "format", "image quality",
)  # fmt: skip
_LONGEST_NAME = 60
_FIELDS: dict[str, str] = {"relabel": "answer", "edit_question": "question", "tag": "tags"}


@dataclass(frozen=True)
class ReviewTarget:
    """The row that a reviewer judges, as it stood when it was shown.

    Attributes:
        kind: ``evals`` for a row of an evaluation, ``curated`` for a training row.
        content_hash: ``winnow.corrections.content_hash`` of the row; a later change makes the line stale.
        run: name of the folder in which the reviewer saw it.
    """

    kind: Literal["evals", "curated"]
    sample_id: str
    content_hash: str
    question: str
    references: tuple[str, ...]
    run: str


def decide(
    target: ReviewTarget,
    action: Action,
    reviewer: str,
    *,
    new: str | None = None,
    tags: Sequence[str] = (),
    note: str = "",
) -> Correction:
    """A line that records ``action`` for ``target``, with what it replaces.

    Raises:
        UserError: the reviewer has no name, or the new text is empty.
    """
    if not reviewer.strip():
        raise UserError("Enter your name first: every decision carries it")
    if action in ("relabel", "edit_question") and not (new or "").strip():
        raise UserError("The new text is empty; write it, or drop the row instead")
    old = {"relabel": list(target.references), "edit_question": target.question}.get(action)
    return Correction(
        correction_id=uuid.uuid4().hex,
        sample_id=target.sample_id,
        content_hash=target.content_hash,
        field=_FIELDS.get(action, "decision"),
        old=old,
        new=new.strip() if new else None,
        action=action,
        tags=tuple(tags),
        note=note.strip(),
        reviewer=reviewer.strip(),
        at=datetime.now(UTC),
        run=target.run,
    )


def undo(line: Correction, reviewer: str) -> Correction:
    """A line that takes ``line`` back; only its own reviewer can.

    Raises:
        UserError: it is another reviewer's.
    """
    if line.reviewer != reviewer.strip():
        raise UserError(f"Only {line.reviewer} can undo this decision; record your own decision instead")
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


def append(folder: Path, line: Correction) -> Path:
    """Add one line to the reviewer's file and return the file; it is on disk when this returns.

    A lock file beside it keeps several writers from losing a line.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = folder / file_name(line.reviewer)
    data = (line.model_dump_json() + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f"{path.name}.lock")), path.open("a+b") as file:
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
    """A safe file name for a self-declared name; two names never share a file."""
    plain = re.sub(r"[^a-z0-9]+", "-", reviewer.lower()).strip("-")[:_LONGEST_NAME]
    return f"{plain or 'reviewer'}-{hashlib.sha256(reviewer.encode()).hexdigest()[:8]}.jsonl"


def _end_last_line(file: BinaryIO) -> None:
    """Remove a last line that a crash cut short (it was never confirmed); end one that only lacks its newline."""
    file.seek(0)
    written = file.read()
    last = written.rpartition(b"\n")[2]
    if last and is_torn(last):
        file.truncate(len(written) - len(last))
    elif last:
        file.write(b"\n")


def tags_of(folder: Path) -> tuple[str, ...]:
    """The lines of ``folder/tags.txt``, at most nine, else a set that suits questions about images."""
    try:
        lines = (folder / TAGS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return _DEFAULT_TAGS
    return tuple(line.strip() for line in lines if line.strip())[:9] or _DEFAULT_TAGS


def review_target(answers: Sequence[RunAnswer], decisions: Sequence[RowDecision]) -> ReviewTarget:
    """What a reviewer judges on the sample page: the row as a run answered it, else as a curated set holds it.

    Args:
        decisions: may only be empty if one of ``answers`` is there.
    """
    for item in answers:
        if (answer := item.answer) is not None:
            return ReviewTarget(
                "evals", answer.sample_id, answer.content_hash, answer.question, answer.references, item.run.name
            )
    row = decisions[0]
    references = row.answers or ((row.answer,) if row.answer else ())
    return ReviewTarget("curated", row.sample_id, row.content_hash, row.question, references, row.folder.name)
