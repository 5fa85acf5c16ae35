"""Logs of guards below the data folder, and what reviewers said of their verdicts."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dashboards.data.review_log import decisions_on
from dashboards.data.reviews import append_all
from serving.guard.corrections import PREFIX
from serving.guard.verdicts import Verdict, days, image_path, read
from winnow.corrections import Action, Correction, same_person
from winnow.errors import UserError

MOST_LINES = 200_000  # of a day; the last ones are shown
_LARGEST_IMAGE = 20_000_000  # bytes


def logs(root: Path) -> list[Path]:
    """Folders of logs below ``guard/`` that have a day."""
    return [folder for folder in sorted((root / "guard").glob("*")) if folder.is_dir() and days(folder)]


def verdicts(folder: Path, day: str) -> Sequence[Verdict]:
    """The lines of a day, the newest first.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / f"{day}.jsonl"
    try:
        found = path.stat()
        return _verdicts(folder, day, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


@functools.lru_cache(maxsize=8)
def _verdicts(folder: Path, day: str, _changed: int, _size: int) -> Sequence[Verdict]:
    return tuple(reversed(list(read(folder, day))[-MOST_LINES:]))


def image_of(folder: Path, verdict: Verdict) -> Path | None:
    """The image that was refused, if the log keeps contents and it is there."""
    path = image_path(folder, verdict.contents) if verdict.stage == "image" else None
    is_there = path is not None and path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST_IMAGE
    return path if is_there else None


def said_of(corrections: Path, verdict: Verdict) -> str:
    """What counts of the reviewers' words: ``wrong``, ``right``, ``conflict``, or '' where nobody said anything."""
    found = [one for one in decisions_on(corrections, PREFIX + verdict.digest) if one.line.action in ("keep", "drop")]
    if any(one.state == "conflict" for one in found):
        return "conflict"
    actions = [one.line.action for one in found if one.state == "active"]
    return "" if not actions else "wrong" if actions[0] == "keep" else "right"


def correct(corrections: Path, log: str, verdict: Verdict, reviewer: str, *, wrong: bool) -> None:
    """Write that a refusal was wrong, so that the guard lets these contents pass, or right.

    Raises:
        UserError: it cannot be written.
    """
    append_all(corrections, [_line(log, verdict, reviewer, "keep" if wrong else "drop")])


def take_back(corrections: Path, log: str, verdict: Verdict, reviewer: str) -> None:
    """Undo the reviewer's own last word on a refusal, if there is one.

    Raises:
        UserError: it cannot be written.
    """
    own = [
        one.line
        for one in decisions_on(corrections, PREFIX + verdict.digest)
        if one.state in ("active", "conflict") and same_person(one.line.reviewer) == same_person(reviewer)
    ]
    if own:
        append_all(corrections, [_line(log, verdict, reviewer, "undo", undoes=own[0].correction_id)])


def _line(log: str, verdict: Verdict, reviewer: str, action: Action, undoes: str | None = None) -> Correction:
    return Correction(
        correction_id=uuid.uuid4().hex, sample_id=PREFIX + verdict.digest, content_hash=verdict.digest, field="guard",
        old=f"{verdict.verdict} {verdict.stage} {verdict.rule}", action=action, reviewer=reviewer, at=datetime.now(UTC),
        run=log, undoes=undoes,
    )  # fmt: skip
