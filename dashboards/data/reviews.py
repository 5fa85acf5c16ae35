"""Reviewers' decisions: written as one line of append-only JSONL each, one file a reviewer, and read back.

Read, every line has its state; then come agreement between reviewers, and what curation applied.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from dashboards.data.answers import RunAnswer
from dashboards.data.catalog import Folder
from dashboards.data.curated import RowDecision
from dashboards.data.engine import cached
from winnow.corrections import Action, Correction, is_torn, read_corrections, resolve
from winnow.errors import UserError
from winnow.files import locked

State = Literal["active", "conflict", "superseded", "undone"]


@dataclass(frozen=True)
class Decision:
    """A line of the log and whether it counts now."""

    line: Correction
    state: State


def read_decisions(folder: Path) -> Sequence[Decision]:
    """All lines of all reviewers but undos, the newest first; read again whenever a file grew.

    Raises:
        UserError: a line of the folder is not a correction.
    """
    return _decisions(folder, tuple((path.name, path.stat().st_size) for path in log_files(folder)))


@cached(4)
def _decisions(folder: Path, sizes: tuple[tuple[str, int], ...]) -> Sequence[Decision]:
    """``sizes`` is part of the cache key: the files only ever grow."""
    return decisions_of(read_corrections(folder))


def log_files(folder: Path) -> list[Path]:
    """The logs of all reviewers, by name."""
    return sorted(folder.glob("*.jsonl"))


def decisions_of(lines: Sequence[Correction]) -> list[Decision]:
    """The state of each of ``lines`` (in order of time), undos left out, the newest first."""
    undone = {(line.reviewer, line.undoes) for line in lines if line.action == "undo"}
    resolved = resolve(lines)
    agreed = {line.correction_id for row in resolved.values() for line in row.agreed}
    disputed = {line.correction_id for row in resolved.values() for line in row.conflicts}

    def state(line: Correction) -> State:
        if (line.reviewer, line.correction_id) in undone:
            return "undone"
        if line.correction_id in disputed:
            return "conflict"
        return "active" if line.correction_id in agreed else "superseded"

    return [Decision(line, state(line)) for line in reversed(lines) if line.action != "undo"]


def of_sample(decisions: Iterable[Decision], sample_id: str) -> list[Decision]:
    """The decisions about one sample, the newest first."""
    return [decision for decision in decisions if decision.line.sample_id == sample_id]


def last_of(decisions: Iterable[Decision], reviewer: str) -> Correction | None:
    """The newest line of a reviewer that still counts: what undo takes back."""
    return next(
        (
            decision.line
            for decision in decisions
            if decision.line.reviewer == reviewer.strip() and decision.state in ("active", "conflict")
        ),
        None,
    )


def tags_by(decisions: Iterable[Decision], sample_id: str, reviewer: str) -> set[str]:
    """The tags that a reviewer has given a sample."""
    lines = [decision.line for decision in of_sample(decisions, sample_id) if decision.state == "active"]
    return {tag for line in lines if line.action == "tag" and line.reviewer == reviewer.strip() for tag in line.tags}


def new_text(line: Correction) -> str:
    """What a line puts in place of the old value, '' where it changes none."""
    return line.new if isinstance(line.new, str) else " · ".join(line.new or ())


def tag_counts(decisions: Iterable[Decision]) -> dict[str, int]:
    """Samples per tag among decisions that count, most first."""
    samples: dict[str, set[str]] = {}
    for decision in decisions:
        if decision.state in ("active", "conflict"):
            for tag in decision.line.tags:
                samples.setdefault(tag, set()).add(decision.line.sample_id)
    return dict(sorted(((tag, len(ids)) for tag, ids in samples.items()), key=lambda item: (-item[1], item[0])))


def new_tags_in_last(decisions: Sequence[Decision], count: int = 25) -> int:
    """Tags seen first among the last ``count`` tagged decisions: near 0, further cases show little that is new."""
    tagged = [decision.line for decision in decisions if decision.line.tags and decision.state != "undone"]
    recent, before = tagged[:count], tagged[count:]
    return len({tag for line in recent for tag in line.tags} - {tag for line in before for tag in line.tags})


def as_rows(decisions: Iterable[Decision], outcomes: Mapping[str, str]) -> list[dict[str, Any]]:
    """One flat row per decision, for a table; ``outcomes`` is what the last curation made of each line."""
    return [
        {
            "When": line.at,
            "Sample": line.sample_id,
            "Decision": line.action.replace("_", " "),
            "State": decision.state,
            "Reviewer": line.reviewer,
            "Tags": ", ".join(line.tags),
            "New value": new_text(line),
            "Last curation": outcomes.get(line.correction_id, ""),
            "Note": line.note,
        }
        for decision in decisions
        for line in (decision.line,)
    ]


@dataclass(frozen=True)
class Agreement:
    """Two reviewers on ``n`` shared rows.

    Attributes:
        observed: share of rows on which their verdicts are the same.
        kappa: Cohen's kappa (1960), -1 to 1; None where both gave the same verdict to every row.
    """

    first: str
    second: str
    n: int
    observed: float
    kappa: float | None


def agreements(decisions: Iterable[Decision]) -> list[Agreement]:
    """Every pair of reviewers with rows in common, most rows first.

    Args:
        decisions: the newest first; tags are not verdicts, and of several verdicts the last counts.
    """
    verdicts: dict[str, dict[str, str]] = {}
    for decision in decisions:
        line = decision.line
        if line.action != "tag" and decision.state != "undone":
            verdicts.setdefault(line.reviewer, {}).setdefault(line.sample_id, line.action)
    found = [
        _agreement(first, second, [(verdicts[first][row], verdicts[second][row]) for row in shared])
        for first, second in itertools.combinations(sorted(verdicts), 2)
        if (shared := sorted(verdicts[first].keys() & verdicts[second].keys()))
    ]
    return sorted(found, key=lambda pair: (-pair.n, pair.first, pair.second))


def _agreement(first: str, second: str, pairs: list[tuple[str, str]]) -> Agreement:
    n = len(pairs)
    observed = sum(ours == theirs for ours, theirs in pairs) / n
    first_counts, second_counts = (Counter(verdicts) for verdicts in zip(*pairs, strict=True))
    chance = sum(first_counts[verdict] * second_counts[verdict] for verdict in first_counts) / n**2
    return Agreement(first, second, n, observed, None if chance == 1 else (observed - chance) / (1 - chance))


@cached(16)
def applied(sets: tuple[Folder, ...]) -> Mapping[str, str]:
    """correction_id → what the curations made of it; ``elsewhere`` only if no set holds its row.

    Raises:
        UserError: a report is unreadable.
    """
    found: dict[str, str] = {}
    for folder in sets:
        for line, outcome in outcomes_of(folder).items():
            if outcome != "elsewhere" or line not in found:
                found[line] = outcome
    return found


def outcomes_of(folder: Folder) -> Mapping[str, str]:
    """correction_id → applied, stale, conflict, noted, superseded, undone or elsewhere; {} without corrections.

    Raises:
        UserError: the report is unreadable.
    """
    path = folder.path / "corrections.json"
    if not path.is_file():
        return {}
    try:
        loaded: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); curate again") from error
    lines = loaded.get("lines") if isinstance(loaded, Mapping) else None
    return {str(key): str(value) for key, value in lines.items()} if isinstance(lines, Mapping) else {}


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
