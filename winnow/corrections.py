"""Reviewers' decisions: append-only JSONL lines, resolved per sample, applied to records.

A folder holds any number of ``*.jsonl`` files, one object a line (``Correction``). Lines are
replayed in order of ``at``. Of one reviewer the last line on a sample and aspect wins; two
reviewers who disagree are in conflict and nothing is applied. A line with ``action: undo`` and
``undoes: <correction_id>`` takes an earlier line of the same reviewer back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, model_validator

from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.records import majority

Action = Literal["keep", "drop", "relabel", "edit_question", "ambiguous", "exclude_from_eval", "tag", "undo"]
# The aspect of a sample that an action is about: two actions on one aspect can contradict each other.
_ASPECT = {"keep": "decision", "drop": "decision", "relabel": "answer", "edit_question": "question",
           "ambiguous": "ambiguous", "exclude_from_eval": "evaluation", "tag": "tags"}  # fmt: skip


class Correction(BaseModel):
    """One line of a corrections file.

    Attributes:
        content_hash: ``content_hash`` of the row the reviewer saw; another one makes it stale.
        field: what was changed: ``decision``, ``answer``, ``answers``, ``question`` or ``tags``.
        old, new: its value before and after; ``new`` is a text, for ``answers`` a list of texts.
        tags: names of the failure; a line with the action ``tag`` holds nothing else.
        at: time with zone, ISO 8601.
        run: the run in which the reviewer met the row.
        undoes: for ``undo``, the ``correction_id`` that is taken back.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    correction_id: str
    sample_id: str
    content_hash: str
    field: str = "decision"
    old: Any = None
    new: str | list[str] | None = None
    action: Action
    tags: tuple[str, ...] = ()
    note: str = ""
    reviewer: str
    at: AwareDatetime
    run: str = ""
    undoes: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Correction:
        if self.action in ("relabel", "edit_question") and not self.new:
            raise ValueError(f"action {self.action!r} needs a value in 'new'")
        if self.action == "undo" and not self.undoes:
            raise ValueError("action 'undo' needs the correction_id in 'undoes'")
        return self


@dataclass(frozen=True)
class Resolved:
    """The corrections of one sample: those that are agreed on, and those in conflict."""

    agreed: tuple[Correction, ...] = ()
    conflicts: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Applied:
    """A record after its corrections.

    Attributes:
        record: the corrected record; the given one where nothing was applied.
        override: ``keep`` or ``drop`` when a reviewer decided, ``flag`` for an ambiguous row.
        status: correction_id → ``applied``, ``stale``, ``conflict`` or ``noted`` (tags, evaluation only).
    """

    record: dict[str, Any]
    override: Literal["keep", "drop", "flag"] | None = None
    status: Mapping[str, str] = field(default_factory=dict)


def content_hash(image_keys: Sequence[str | None], record: Mapping[str, Any]) -> str:
    """Hex sha256 of what a reviewer judges: image keys, conversations and answers, as canonical JSON.

    It is taken of the source's row, before any correction.
    """
    return digest_of(
        {
            "image_keys": list(image_keys),
            "conversations": record.get("conversations", []),
            "answers": record.get("answers", []),
        }
    )


def read_corrections(folder: Path) -> list[Correction]:
    """All lines of ``folder/*.jsonl`` in order of time; [] if the folder does not exist.

    A last line that is cut off was being written when the process was killed; its reviewer never got a
    confirmation. It is left out, with a warning on stderr.

    Raises:
        UserError: a line is not a correction, or a correction_id occurs twice with different content.
    """
    found: dict[str, tuple[Correction, str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        *whole, last = path.read_bytes().split(b"\n")
        if last.strip() and is_torn(last):
            print(f"{path}:{len(whole) + 1}: this line was cut off while it was written; left out", file=sys.stderr)
            last = b""
        for number, line in enumerate([*whole, last], start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            correction = _parse(line, where)
            known, first = found.setdefault(correction.correction_id, (correction, where))
            if known != correction:
                raise UserError(f"{where}: correction_id {correction.correction_id!r} was already used in {first}")
    return sorted((correction for correction, _ in found.values()), key=lambda c: (c.at, c.correction_id))


def is_torn(line: bytes) -> bool:
    """Whether a last line without a line break was cut off while it was written: it is not JSON."""
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _parse(line: bytes, where: str) -> Correction:
    try:
        return Correction.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "line"
        raise UserError(f"{where}: not a correction: {place}: {problem['msg']}") from error


def resolve(corrections: Iterable[Correction]) -> dict[str, Resolved]:
    """sample_id → the last line of each reviewer on each aspect, without the undone ones."""
    lines = list(corrections)
    undone = {(line.reviewer, line.undoes) for line in lines if line.action == "undo"}
    last: dict[str, dict[str, dict[str, Correction]]] = {}
    for line in lines:
        if line.action != "undo" and (line.reviewer, line.correction_id) not in undone:
            last.setdefault(line.sample_id, {}).setdefault(_ASPECT[line.action], {})[line.reviewer] = line
    resolved = {}
    for sample_id, aspects in last.items():
        agreed: list[Correction] = []
        conflicts: list[Correction] = []
        for aspect, by_reviewer in aspects.items():
            views = list(by_reviewer.values())
            same = (
                aspect == "tags" or len({(view.action, view.content_hash, json.dumps(view.new)) for view in views}) == 1
            )
            (agreed if same else conflicts).extend(views)
        resolved[sample_id] = Resolved(tuple(agreed), tuple(conflicts))
    return resolved


def apply(record: Mapping[str, Any], hash_now: str, resolved: Resolved) -> Applied:
    """Apply the corrections of one sample to its record in Winnow's form (``winnow.records.to_record``).

    A relabelled answer replaces the first assistant turn and all references; the former values are kept
    under ``meta.before_correction``.

    Args:
        hash_now: ``content_hash`` of the source's row; corrections of another content are stale.
    """
    status = {line.correction_id: "conflict" for line in resolved.conflicts}
    changed = json.loads(json.dumps(dict(record)))
    override: Literal["keep", "drop", "flag"] | None = None
    for line in resolved.agreed:
        if line.content_hash != hash_now:
            status[line.correction_id] = "stale"
            continue
        status[line.correction_id] = "noted" if line.action in ("exclude_from_eval", "tag") else "applied"
        if line.action == "relabel":
            _relabel(changed, line)
        elif line.action == "edit_question":
            _edit_question(changed, line)
        elif line.action == "keep" or line.action == "drop":
            override = line.action
        elif line.action == "ambiguous":
            override = override or "flag"
    return Applied(changed, override, status)


def _remember(record: dict[str, Any], key: str, value: Any) -> None:
    record.setdefault("meta", {}).setdefault("before_correction", {}).setdefault(key, value)


def _relabel(record: dict[str, Any], line: Correction) -> None:
    answers = line.new if isinstance(line.new, list) else [line.new or ""]
    if record.get("answers"):
        _remember(record, "answers", record["answers"])
        record["answers"] = answers
    for turn in record["conversations"]:
        if turn["from"] == "assistant":
            _remember(record, "answer", turn["value"])
            turn["value"] = majority(answers)
            return


def _edit_question(record: dict[str, Any], line: Correction) -> None:
    for turn in record["conversations"]:
        if turn["from"] == "user":
            _remember(record, "question", turn["value"])
            asked = turn["value"].replace(IMAGE_MARKER, "").strip()
            new = line.new if isinstance(line.new, str) else ""
            # Keeps the <image> markers where they stand.
            turn["value"] = turn["value"].replace(asked, new, 1) if asked else turn["value"] + new
            return
