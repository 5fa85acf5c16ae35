"""Reviewers' decisions: written as one line of append-only JSONL each, one file a reviewer, and read back.

Read, every line has its state; then come agreement between reviewers, and what curation applied.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import uuid
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from dashboards.data.answers import RunAnswer
from dashboards.data.catalog import Folder
from dashboards.data.curated import RowDecision
from dashboards.data.engine import cached
from dashboards.data.review_log import Decision as Decision
from dashboards.data.review_log import Known, Log, State, known_of, log_of
from winnow.corrections import WRONG_REFERENCE, Action, Correction, aspect_of, is_torn, meaning, same_person
from winnow.errors import UserError
from winnow.files import locked, read_json, read_regular


def read_decisions(folder: Path) -> Sequence[Decision]:
    """All lines of all reviewers but undos, the newest first, with what changed since the last call.

    Raises:
        UserError: a line of the folder is not a correction.
    """
    return log_of(folder).decisions


def said(line: Correction) -> str:
    """What a line decides, in words."""
    if line.action == "exclude_from_eval" and WRONG_REFERENCE in line.tags:
        return WRONG_REFERENCE
    return _SAID.get(line.action, line.action)


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
    """One flat row per decision, for a table; ``outcomes`` is what became of each line."""
    return [
        {
            "When": line.at,
            "Sample": line.sample_id,
            "Decision": said(line),
            "State": decision.state,
            "Reviewer": line.reviewer,
            "Tags": ", ".join(line.tags),
            "New value": new_text(line),
            "What became of it": outcomes.get(line.correction_id, ""),
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

    Verdicts are compared as they are meant: the same new answer in another spelling is the same verdict. A line that
    settles a conflict was made knowing the others', so the verdict before it counts here.

    Args:
        decisions: the newest first.
    """
    verdicts: dict[str, dict[str, tuple[str, ...]]] = {}
    names: dict[str, str] = {}
    for decision in decisions:
        line = decision.line
        if aspect_of(line) == "verdict" and decision.state != "undone" and not line.settles:
            person = same_person(line.reviewer)
            names.setdefault(person, line.reviewer)
            verdicts.setdefault(person, {}).setdefault(line.sample_id, meaning(line))
    found = [
        _agreement(names[first], names[second], [(verdicts[first][row], verdicts[second][row]) for row in shared])
        for first, second in itertools.combinations(sorted(verdicts), 2)
        if (shared := sorted(verdicts[first].keys() & verdicts[second].keys()))
    ]
    return sorted(found, key=lambda pair: (-pair.n, pair.first, pair.second))


def _agreement(first: str, second: str, pairs: list[tuple[Hashable, Hashable]]) -> Agreement:
    n = len(pairs)
    observed = sum(ours == theirs for ours, theirs in pairs) / n
    first_counts, second_counts = (Counter(verdicts) for verdicts in zip(*pairs, strict=True))
    chance = sum(first_counts[verdict] * second_counts[verdict] for verdict in first_counts) / n**2
    return Agreement(first, second, n, observed, None if chance == 1 else (observed - chance) / (1 - chance))


@dataclass(frozen=True)
class Summary:
    """A log in numbers.

    Attributes:
        states: state → lines.
        reviewers: how many people decided something.
        tags: of ``tag_counts``.
        new_tags: of ``new_tags_in_last``.
    """

    states: Counter[State]
    reviewers: int
    tags: Mapping[str, int]
    new_tags: int
    agreements: Sequence[Agreement]


@cached(4)
def summary(log: Log) -> Summary:
    """A log in numbers, counted once."""
    return Summary(
        Counter(item.state for item in log.decisions),
        len({same_person(item.line.reviewer) for item in log.decisions}),
        tag_counts(log.decisions),
        new_tags_in_last(log.decisions),
        agreements(log.decisions),
    )


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


@cached(256)
def outcomes_of(folder: Folder) -> Mapping[str, str]:
    """correction_id → what a curated set or an evaluation made of the line, see ``winnow.corrections.outcomes``.

    {} without corrections.

    Raises:
        UserError: the report is unreadable.
    """
    path = folder.path / "corrections.json"
    if not path.is_file():
        return {}
    try:
        loaded: Any = read_json(path)
    except (OSError, ValueError) as error:
        again = f"evalsuite score {folder.path}" if folder.kind == "evals" else "curate run RECIPE"
        raise UserError(f"{path}: cannot be read ({error}); write it anew with `{again}`") from error
    lines = loaded.get("lines") if isinstance(loaded, Mapping) else None
    return {str(key): str(value) for key, value in lines.items()} if isinstance(lines, Mapping) else {}


TAGS_FILE = "tags.txt"
_DEFAULT_TAGS = (
    "wrong object", "wrong attribute", "wrong count", "wrong relation", "misread text", "misread question",
    "invented", "format", "image quality",
)  # fmt: skip
_LONGEST_NAME = 60
_LONGEST_WAIT = 10.0  # seconds for another writer
_LOCK = "corrections.lock"
_MOMENT = timedelta(microseconds=1)
_BLOCK = 1 << 16  # bytes that are read at once to find where a file's last line begins
_SAID = {
    "keep": "right as it stands", "relabel": "another answer", "edit_question": "another question",
    "exclude_from_eval": "leave out of the score",
}  # fmt: skip
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
    if same_person(line.reviewer) != same_person(reviewer):
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
    """Add one line and return the reviewer's file; see ``append_all``."""
    append_all(folder, [line])
    return folder / file_name(line.reviewer)


def append_all(folder: Path, lines: Sequence[Correction]) -> list[str]:
    """Add lines to their reviewers' files, in this order; they are on disk when this returns.

    A line whose ``correction_id`` the log holds already is written no second time, so that a request can be repeated.
    One lock for the folder keeps several writers from losing a line. A person's clock never goes back in the log: a
    line that is not later than their last one, or than those it settles, is given the moment after.

    Returns: the ids of the lines that were written now.

    Raises:
        UserError: the folder cannot be written to, a line of it is not a correction, or an id was used for another
            decision. Nothing is recorded then.
    """
    if not lines:
        return []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _LOCK, wait=_LONGEST_WAIT):
            new = _new_lines(lines, known_of(folder))
            by_file: dict[str, list[Correction]] = {}
            for line in new:
                by_file.setdefault(file_name(line.reviewer), []).append(line)
            for name, of_file in by_file.items():
                _write(folder / name, b"".join(line.model_dump_json().encode() + b"\n" for line in of_file))
    except OSError as error:
        reason = error.strerror or "another program is writing"
        raise UserError(f"{folder}: the decision could not be written ({reason}); nothing was recorded") from error
    except OverflowError as error:
        raise UserError(
            f"{folder}: holds a decision of the year 9999, and none can be later; mend its time. Nothing was recorded"
        ) from error
    return [line.correction_id for line in new]


def _new_lines(lines: Sequence[Correction], known: Known) -> list[Correction]:
    """The lines that the log does not hold, each later than the last of its reviewer and than what it settles."""
    new: dict[str, Correction] = {}
    last: dict[str, datetime] = {}
    for line in lines:
        if written := known.by_id.get(line.correction_id) or new.get(line.correction_id):
            if not is_same_decision(written, line):
                raise UserError(
                    f"correction_id {line.correction_id!r} was already used for another decision; nothing was recorded"
                )
            continue
        person = same_person(line.reviewer)
        own = known.last.get(person)
        others = [known.by_id.get(name) or new.get(name) for name in line.settles]
        before = [one.at for one in (own, *others) if one is not None]
        before += [last[person]] if person in last else []
        at = max([line.at, *(moment + _MOMENT for moment in before)])
        new[line.correction_id] = line.model_copy(update={"at": at})
        last[person] = at
    return list(new.values())


def is_same_decision(one: Correction, other: Correction) -> bool:
    """Whether two lines of one id say the same; a request that is sent again may have another time."""
    return _said(one) == _said(other)


def _said(line: Correction) -> tuple[object, ...]:
    new = tuple(line.new) if isinstance(line.new, list) else line.new
    return same_person(line.reviewer), line.sample_id, line.action, new, line.tags, line.note, line.undoes, line.settles


def _write(path: Path, data: bytes) -> None:
    """Append to a file and wait until it is on disk; a failed write leaves the file as it was."""
    with path.open("a+b", buffering=0) as file:
        _end_last_line(file)
        size = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def file_name(reviewer: str) -> str:
    """A safe file name for a self-declared name; two people never share a file."""
    person = same_person(reviewer)
    plain = re.sub(r"[^a-z0-9]+", "-", person).strip("-")[:_LONGEST_NAME]
    return f"{plain or 'reviewer'}-{hashlib.sha256(person.encode()).hexdigest()[:8]}.jsonl"


def _end_last_line(file: FileIO) -> None:
    """Remove a last line that a crash cut short (it was never confirmed); end one that only lacks its newline."""
    size = start = file.seek(0, os.SEEK_END)
    last = b""
    while start and b"\n" not in last:
        start = max(0, start - _BLOCK)
        file.seek(start)
        last = file.read(size - start)
    last = last.rpartition(b"\n")[2]
    if last and is_torn(last):
        file.truncate(size - len(last))
    elif last:
        file.write(b"\n")


def tags_of(folder: Path) -> tuple[str, ...]:
    """The lines of ``folder/tags.txt``, at most nine, else a set that suits questions about images."""
    try:
        lines = read_regular(folder / TAGS_FILE).decode("utf-8").splitlines()
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
