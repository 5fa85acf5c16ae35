"""Reviewers' decisions: append-only JSONL lines, resolved per sample, applied to records.

A folder holds any number of ``*.jsonl`` files, one object a line (``Correction``). Lines count in order of ``at``.
A decision has one of four aspects: the verdict on the row, its question, tags, a note. The verdicts exclude each other:
``keep`` (right as it stands), ``relabel`` (wrong, with the right answer), ``drop``, ``ambiguous`` and
``exclude_from_eval``, which with the tag ``wrong reference`` says that the answer is wrong without a new one.
Of one person the last line on a row and aspect counts. Two people whose verdicts mean different things are in conflict,
and nothing is applied, until they agree or somebody settles it: a line that names others in ``settles`` overrules them,
as long as nobody decides anew. A line with ``action: undo`` and ``undoes: <correction_id>`` takes an earlier line of
the same person back; the line before that counts again. An undo cannot be undone: decide again.
"""

from __future__ import annotations

import functools
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, model_validator

from winnow.errors import UserError
from winnow.files import digest_of, parse_json, read_regular
from winnow.rows.conversations import IMAGE_MARKER
from winnow.rows.records import majority

Action = Literal["keep", "drop", "relabel", "edit_question", "ambiguous", "exclude_from_eval", "tag", "note", "undo"]
Aspect = Literal["verdict", "question", "tags", "note"]
WRONG_REFERENCE = "wrong reference"
MEANING = 2  # raise it when the same lines mean something else: what was made from them is stale then
_NO_VERDICT: dict[str, Aspect] = {"edit_question": "question", "tag": "tags", "note": "note"}


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
        settles: the ``correction_id`` of each line of others that this verdict or question overrules.
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
    settles: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Correction:
        if self.action in ("relabel", "edit_question") and not self.new:
            raise ValueError(f"action {self.action!r} needs a value in 'new'")
        if self.action == "undo" and not self.undoes:
            raise ValueError("action 'undo' needs the correction_id in 'undoes'")
        if self.action == "note" and not self.note.strip():
            raise ValueError("action 'note' needs a text in 'note'")
        if self.settles and self.action in ("tag", "note", "undo"):
            raise ValueError(f"action {self.action!r} settles nothing")
        return self


@dataclass(frozen=True)
class Resolved:
    """The lines of one sample that count, each in order of time.

    Attributes:
        agreed: to be applied; where several people relabelled the row alike, the text of the last one.
        conflicts: of people who disagree; nothing of it is applied.
        settled: overruled by a later line that settles them.
    """

    agreed: tuple[Correction, ...] = ()
    conflicts: tuple[Correction, ...] = ()
    settled: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Applied:
    """A record after its corrections.

    Attributes:
        record: the corrected record; the given one where nothing was applied.
        override: ``keep`` or ``drop`` when a reviewer decided, ``flag`` for an ambiguous row.
        status: correction_id → ``applied``, ``stale``, ``conflict``, ``settled`` (overruled by another's line) or
            ``noted`` (tags, notes, evaluation only).
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
        UserError: a file cannot be read, a line is not a correction, or a correction_id occurs twice with different
            content.
    """
    found: dict[str, tuple[Correction, str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        *whole, last = _bytes_of(path).split(b"\n")
        if last.strip() and is_torn(last):
            print(f"{path}:{len(whole) + 1}: this line was cut off while it was written; left out", file=sys.stderr)
            last = b""
        for number, line in enumerate([*whole, last], start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            correction = parse_line(line, where)
            known, first = found.setdefault(correction.correction_id, (correction, where))
            if known != correction:
                raise UserError(f"{where}: correction_id {correction.correction_id!r} was already used in {first}")
    return sorted((correction for correction, _ in found.values()), key=place_in_time)


def _bytes_of(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise unreadable_log(path, error) from error


def unreadable_log(path: Path, error: OSError) -> UserError:
    """What to say where a log cannot be read."""
    return UserError(
        f"{error.filename or path}: decisions cannot be read ({error.strerror or error}); mend or move this file"
    )


def is_torn(line: bytes) -> bool:
    """Whether a last line without a line break was cut off while it was written: it is not JSON."""
    try:
        parse_json(line)
    except ValueError:
        return True
    return False


def parse_line(line: bytes, where: str) -> Correction:
    """One line of a log.

    Args:
        where: file and number of the line, for the error.

    Raises:
        UserError: it is not a correction.
    """
    try:
        return Correction.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "line"
        raise UserError(f"{where}: not a correction: {place}: {problem['msg']}") from error


def place_in_time(line: Correction) -> tuple[datetime, str]:
    """Sorts lines so that later ones count; ids decide between lines of one moment."""
    return line.at, line.correction_id


@functools.lru_cache(maxsize=4096)
def same_person(name: str) -> str:
    """A reviewer's name as it is compared: ``Anna`` is ``anna `` in any spelling of Unicode."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def aspect_of(line: Correction) -> Aspect:
    """What of a row a line is about; lines on different aspects never contradict each other."""
    return _NO_VERDICT.get(line.action, "verdict")


def meaning(line: Correction) -> tuple[str, ...]:
    """What a verdict or a new question says, as two people's are compared; a new text follows what is done.

    Letter case, outer blanks, runs of blanks, a full stop at the end and the order of several references are no
    difference; how often a reference is given is one, because votes count.
    """
    if line.action == "exclude_from_eval" and WRONG_REFERENCE in line.tags:
        return (WRONG_REFERENCE,)
    if line.action not in ("relabel", "edit_question"):
        return (line.action,)
    texts = line.new if isinstance(line.new, list) else [line.new or ""]
    return line.action, *sorted(_plain(text) for text in texts)


def _plain(text: str) -> str:
    words = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return words.removesuffix(".").removesuffix("。").rstrip() or words


def undone(lines: Iterable[Correction]) -> set[tuple[str, str]]:
    """(person, correction_id) of what was taken back; it only counts for that person's own lines."""
    return {(same_person(line.reviewer), line.undoes) for line in lines if line.action == "undo" and line.undoes}


def is_undone(line: Correction, taken_back: set[tuple[str, str]]) -> bool:
    """Whether its own reviewer took a line back; ``taken_back`` is of ``undone``."""
    return (same_person(line.reviewer), line.correction_id) in taken_back


def resolve(corrections: Iterable[Correction]) -> dict[str, Resolved]:
    """sample_id → what counts of the lines about it, in whatever order they are given."""
    lines = sorted(corrections, key=place_in_time)
    taken_back = undone(lines)
    of_sample: dict[str, list[Correction]] = {}
    for line in lines:
        if line.action != "undo" and not is_undone(line, taken_back):
            of_sample.setdefault(line.sample_id, []).append(line)
    return {sample_id: resolve_row(of_row) for sample_id, of_row in of_sample.items()}


def resolve_row(lines: Iterable[Correction]) -> Resolved:
    """What counts of the lines about one sample.

    Only people who saw the same content of the row can disagree about it.

    Args:
        lines: in order of time, without undos and what they take back.
    """
    last = {(aspect_of(line), same_person(line.reviewer)): line for line in lines}
    together: dict[tuple[Aspect, str], list[Correction]] = {}
    for (aspect, _), line in last.items():
        together.setdefault((aspect, line.content_hash), []).append(line)
    found = [
        Resolved(agreed=tuple(views)) if aspect in ("tags", "note") or len(views) == 1 else _settled(views)
        for (aspect, _), views in together.items()
    ]
    return Resolved(
        _in_time(line for one in found for line in one.agreed),
        _in_time(line for one in found for line in one.conflicts),
        _in_time(line for one in found for line in one.settled),
    )


def _in_time(lines: Iterable[Correction]) -> tuple[Correction, ...]:
    return tuple(sorted(lines, key=place_in_time))


def _settled(views: Sequence[Correction]) -> Resolved:
    """The verdicts of several people on the same content.

    A line only overrules earlier ones, so that the last is never overruled. One that was overruled and says the same as
    what counts now is agreed.
    """
    views = sorted(views, key=place_in_time)
    overruled = {
        earlier.correction_id
        for place, view in enumerate(views)
        for earlier in views[:place]
        if earlier.correction_id in view.settles
    }
    counting = [view for view in views if view.correction_id not in overruled]
    said = {meaning(view) for view in counting}
    if len(said) > 1:
        return Resolved((), tuple(counting), tuple(view for view in views if view.correction_id in overruled))
    agreed = tuple(view for view in views if meaning(view) in said)
    return Resolved(agreed, (), tuple(view for view in views if meaning(view) not in said))


def apply(record: Mapping[str, Any], hash_now: str, resolved: Resolved) -> Applied:
    """Apply the corrections of one sample to its record in Winnow's form (``winnow.rows.records.to_record``).

    A relabelled answer replaces the first assistant turn and all references; the former values are kept
    under ``meta.before_correction``.

    Args:
        hash_now: ``content_hash`` of the source's row; corrections of another content are stale.
    """
    changed = json.loads(json.dumps(dict(record)))
    override: Literal["keep", "drop", "flag"] | None = None
    for line in resolved.agreed:
        if line.content_hash != hash_now:
            continue
        if line.action == "relabel":
            _relabel(changed, line)
        elif line.action == "edit_question":
            _edit_question(changed, line)
        elif line.action == "keep" or line.action == "drop":
            override = line.action
        elif line.action == "ambiguous":
            override = "flag"
    return Applied(changed, override, line_statuses(hash_now, resolved, noted=("exclude_from_eval", "tag", "note")))


def line_statuses(hash_now: str | None, resolved: Resolved, noted: Sequence[Action]) -> dict[str, str]:
    """correction_id → what a row that has this content makes of a line; see ``Applied``.

    Args:
        noted: actions that change nothing here.
    """
    status: dict[str, str] = {}
    for lines, word in ((resolved.agreed, "applied"), (resolved.conflicts, "conflict"), (resolved.settled, "settled")):
        for line in lines:
            became = "noted" if word == "applied" and line.action in noted else word
            status[line.correction_id] = became if line.content_hash == hash_now else "stale"
    return status


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


def outcomes(
    lines: Iterable[Correction], resolved: Mapping[str, Resolved], status: Mapping[str, str]
) -> dict[str, Any]:
    """What became of every line, as ``corrections.json`` of a curated set or an evaluation holds it.

    Args:
        lines: what ``resolved`` was made from.
        status: correction_id → what a row made of it, see ``Applied``.

    Returns: ``lines``: correction_id → its status, besides ``superseded`` by a later line of its reviewer, ``undone``
        by its reviewer, and ``elsewhere`` (no such row here); ``counts``: status → lines.
    """
    lines = list(lines)
    taken_back = undone(lines)
    live = {
        line.correction_id
        for of_row in resolved.values()
        for line in (*of_row.agreed, *of_row.conflicts, *of_row.settled)
    }
    found = {}
    for line in lines:
        if line.action == "undo":
            continue
        if line.correction_id in live:
            found[line.correction_id] = status.get(line.correction_id, "elsewhere")
        else:
            found[line.correction_id] = "undone" if is_undone(line, taken_back) else "superseded"
    return {"counts": dict(sorted(Counter(found.values()).items())), "lines": found}
