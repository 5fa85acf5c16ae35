"""Sample, Turn: the record that every stage speaks, and its JSON form (one object a line)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curate.atomic import digest_of
from curate.errors import UserError

Role = Literal["user", "assistant", "system"]
_ROLES: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant",
    "system": "system",
}  # fmt: skip
IMAGE_MARKER = "<image>"
_OWN_KEYS = ("id", "image", "images", "conversations", "messages", "answers", "source", "split", "meta")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; ``value`` is kept to the letter."""

    role: Role
    value: str


@dataclass(frozen=True, slots=True)
class Form:
    """How a record was spelled, so that writing it back changes nothing."""

    turns_key: str = "conversations"
    role_key: str = "from"
    value_key: str = "value"
    role_names: tuple[str, ...] = ()
    image_key: str = "image"
    image_is_list: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a dataset.

    Attributes:
        id: unique in a set; ``source/split/own id`` where the source has ids.
        image: paths relative to the dataset's image root; empty for text-only rows.
        conversations: at least one turn.
        answers: all references with their repetition (ten votes stay ten).
        meta: whatever the schema has no field for, unaltered.
        form: the original spelling.
    """

    id: str
    image: tuple[str, ...]
    conversations: tuple[Turn, ...]
    answers: tuple[str, ...] = ()
    source: str = ""
    split: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    form: Form = Form()

    @property
    def question(self) -> str:
        """The first user turn without ``<image>`` markers, stripped; '' if there is none."""
        for turn in self.conversations:
            if turn.role == "user":
                return turn.value.replace(IMAGE_MARKER, "").strip()
        return ""

    @property
    def answer(self) -> str:
        """The first assistant turn, '' if there is none."""
        return next((turn.value for turn in self.conversations if turn.role == "assistant"), "")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read: it costs itself, not the run.

    Readers yield it between samples; whoever consumes them writes it to the ledger, or raises
    ``UserError(f"{bad.where}: {bad.reason}")`` where a bad row must not pass.

    Attributes:
        where: file and line (or row), for people.
        reason: one clause that says what is wrong.
        position: 0-based row in its source.
    """

    where: str
    reason: str
    position: int


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer, ties by first occurrence; '' for none."""
    return Counter(answers).most_common(1)[0][0] if answers else ""


def from_record(record: Mapping[str, Any], *, source: str = "", split: str = "", where: str = "record") -> Sample:
    """Read one JSON object: Winnow's own form, LLaVA, ShareGPT or ms-swift.

    Args:
        record: the parsed object. ``human``/``gpt`` and ``messages``/``role``/``content`` are
            accepted; unknown keys go to ``meta``.
        source, split: used where the record does not name its own.
        where: file and line, for errors.

    Raises:
        UserError: no conversation, an unknown role or a value of the wrong type.
    """
    turns_key = next((key for key in ("conversations", "messages") if key in record), "")
    if not turns_key or not isinstance(record[turns_key], list) or not record[turns_key]:
        raise UserError(f"{where}: needs a non-empty list 'conversations' or 'messages'")
    turns, names, keys = _read_turns(record[turns_key], where)
    image_key = "images" if "images" in record else "image"
    image = record.get(image_key)
    paths = [] if image is None else [image] if isinstance(image, str) else image
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise UserError(f"{where}: {image_key!r} must be a path or a list of paths")
    answers = record.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise UserError(f"{where}: 'answers' must be a list of strings")
    meta = dict(record.get("meta") or {})
    meta.update({key: value for key, value in record.items() if key not in _OWN_KEYS})
    source, split = record.get("source", source), record.get("split", split)
    own_id = record.get("id")
    if own_id is not None and not isinstance(own_id, str):
        meta["id"] = own_id  # keeps its type
    return Sample(
        id=_full_id(own_id, record, source, split),
        image=tuple(paths),
        conversations=turns,
        answers=tuple(answers),
        source=source,
        split=split,
        meta=meta,
        form=Form(turns_key, *keys, names, image_key, isinstance(image, list)),
    )


def _full_id(own_id: Any, record: Mapping[str, Any], source: str, split: str) -> str:
    prefix = "/".join(part for part in (source, split) if part)
    own = digest_of(dict(record))[:16] if own_id is None else str(own_id)
    return own if not prefix or own.startswith(f"{prefix}/") else f"{prefix}/{own}"


def _read_turns(rows: list[Any], where: str) -> tuple[tuple[Turn, ...], tuple[str, ...], tuple[str, str]]:
    turns: list[Turn] = []
    names: list[str] = []
    first = rows[0] if isinstance(rows[0], dict) else {}
    role_key = "from" if "from" in first else "role"
    value_key = "value" if "value" in first else "content"
    for number, row in enumerate(rows, start=1):
        name = row.get(role_key) if isinstance(row, dict) else None
        value = row.get(value_key) if isinstance(row, dict) else None
        if name not in _ROLES or not isinstance(value, str):
            raise UserError(
                f"{where}: turn {number} needs {role_key!r} (one of {', '.join(_ROLES)}) and a text {value_key!r}"
            )
        names.append(name)
        turns.append(Turn(_ROLES[name], value))
    return tuple(turns), tuple(names), (role_key, value_key)


def to_record(sample: Sample) -> dict[str, Any]:
    """The sample in Winnow's own form (``id``, ``image``, ``conversations`` …), JSON-able."""
    record: dict[str, Any] = {"id": sample.id}
    if sample.image:
        record["image"] = sample.image[0] if len(sample.image) == 1 else list(sample.image)
    record["conversations"] = [{"from": turn.role, "value": turn.value} for turn in sample.conversations]
    if sample.answers:
        record["answers"] = list(sample.answers)
    record.update({"source": sample.source, "split": sample.split, "meta": dict(sample.meta)})
    return record


def to_line(sample: Sample) -> str:
    """``to_record`` as one JSON line without the line break."""
    return json.dumps(to_record(sample), ensure_ascii=False)


def read_jsonl(path: Path) -> Iterator[Sample]:
    """Stream the samples of a JSONL file in Winnow's own form.

    Raises:
        UserError: the file is missing, or a line is no JSON object or no sample.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not a JSON object ({error})") from error
            yield from_record(record, where=f"{path}:{number}")


def check_unique(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Pass samples on; a repeated id is an error that names both rows by position."""
    seen: dict[str, int] = {}
    for position, sample in enumerate(samples):
        if sample.id in seen:
            raise UserError(f"id {sample.id!r} occurs twice: rows {seen[sample.id]} and {position}; ids must be unique")
        seen[sample.id] = position
        yield sample
