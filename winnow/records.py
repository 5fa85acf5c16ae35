"""A sample as a JSON object, in Winnow's own form or as it was spelled, and back.

Sample, Turn: the row that every stage speaks of.

Readers and sources yield ``Sample | BadRow``, so that a bad row costs that row. ``winnow.records`` has its JSON form,
``winnow.records`` files of one object a line.

The ways in which datasets spell a conversation: ``conversations``, ``messages``, or ``query``/``response``.

Samples as JSON lines. ``read_jsonl`` is for files that Winnow wrote itself, where a bad line is an error.

When two questions, or two answers, count as the same text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from winnow.errors import UserError
from winnow.files import digest_of
from winnow.hash_index import HashIndex

Role = Literal["user", "assistant", "system"]
# What a tool answers is read as the user's, what calls it as the assistant's: so they are trained on.
ROLES: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant",
    "system": "system", "observation": "user", "tool": "user", "tool_response": "user",
    "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip
IMAGE_MARKER = "<image>"
_IMAGE_PARTS = ("image", "image_url")


@dataclass(frozen=True, slots=True)
class SpelledTurns:
    """A record's turns and how it spelled them.

    Attributes:
        turns: (role, text) in order.
        key: ``conversations``, ``messages`` or ``query``.
        role_key, value_key, role_names: names inside the turns of a list.
        rows: the turns as they were, where they hold more than role and text; else empty.
        system_key: ``system`` if the first turn comes from that key beside the turns; else ''.
        images: paths that parts of turns name.
        used: keys of the record that the turns hold.
    """

    turns: tuple[tuple[Role, str], ...]
    key: str
    role_key: str = ""
    value_key: str = ""
    role_names: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    system_key: str = ""
    images: tuple[str, ...] = ()
    used: tuple[str, ...] = ()


OWN_SPELLING = SpelledTurns((), "conversations", "from", "value")


def read_turns(record: Mapping[str, Any], where: str) -> SpelledTurns:
    """The conversation of a record.

    ``conversations`` (``from``/``value``) or ``messages`` (``role``/``content``, a text or a list of
    parts), or ms-swift's older ``query``, ``response`` and ``history`` of pairs; each with an
    optional text ``system`` beside it.

    Raises:
        UserError: there is none, an unknown role, or a value of the wrong type.
    """
    key = next((key for key in ("conversations", "messages") if key in record), "")
    system = record.get("system")
    opening: tuple[tuple[Role, str], ...] = (("system", system),) if isinstance(system, str) and system else ()
    system_key = "system" if opening else ""
    if not key and isinstance(record.get("query"), str):
        pairs = _pairs(record, where)
        used = tuple(name for name in (system_key, "history", "query", "response") if name in record)
        return SpelledTurns((*opening, *pairs), "query", system_key=system_key, used=used)
    rows = record.get(key)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{where}: needs a non-empty list 'conversations' or 'messages'")
    first = rows[0] if isinstance(rows[0], dict) else {}
    role_key = "from" if "from" in first else "role"
    value_key = "value" if "value" in first else "content"
    turns: list[tuple[Role, str]] = []
    names: list[str] = []
    images: list[str] = []
    for number, row in enumerate(rows, start=1):
        name = row.get(role_key) if isinstance(row, dict) else None
        value = row.get(value_key) if isinstance(row, dict) else None
        if isinstance(value, list):
            value = _joined(value, images)
        if not isinstance(name, str) or name not in ROLES or not isinstance(value, str):
            raise UserError(
                f"{where}: turn {number} needs {role_key!r} (one of {', '.join(ROLES)}) and a text {value_key!r}"
            )
        names.append(name)
        turns.append((ROLES[name], value))
    plain = all(list(row) == [role_key, value_key] and isinstance(row[value_key], str) for row in rows)
    return SpelledTurns(
        (*opening, *turns), key, role_key, value_key, tuple(names), () if plain else tuple(rows), system_key,
        tuple(images), (key, system_key) if system_key else (key,),
    )  # fmt: skip


def spell_turns(texts: Sequence[tuple[str, str]], spelled: SpelledTurns, keys: Sequence[str]) -> dict[str, Any]:
    """The inverse: values of the record's keys from (role, text) pairs.

    Args:
        keys: of the record.
    """
    values: dict[str, Any] = {}
    said = list(texts)
    if spelled.system_key and said:
        values[spelled.system_key] = said.pop(0)[1]
    if spelled.key == "query":
        if "response" in keys and said and said[-1][0] == "assistant":
            values["response"] = said.pop()[1]
        values["query"] = said.pop()[1] if said else ""
        values["history"] = [[asked, answer] for (_, asked), (_, answer) in zip(said[::2], said[1::2], strict=False)]
        return values
    names = spelled.role_names or tuple(role for role, _ in said)
    turns = [{spelled.role_key: name, spelled.value_key: text} for name, (_, text) in zip(names, said, strict=True)]
    if spelled.rows:
        turns = [
            dict(row) if isinstance(row.get(spelled.value_key), list) else {**dict(row), **turn}
            for row, turn in zip(spelled.rows, turns, strict=True)
        ]
    values[spelled.key] = turns
    return values


def _pairs(record: Mapping[str, Any], where: str) -> tuple[tuple[Role, str], ...]:
    history = record.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in history
    ):
        raise UserError(f"{where}: 'history' must be a list of pairs of texts")
    turns: list[tuple[Role, str]] = []
    for asked, answer in history:
        turns += [("user", asked), ("assistant", answer)]
    turns.append(("user", record["query"]))
    response = record.get("response")
    if not isinstance(response, str | None):
        raise UserError(f"{where}: 'response' must be a text")
    return (*turns, ("assistant", response)) if response is not None else tuple(turns)


def _joined(parts: list[Any], images: list[str]) -> str | None:
    """The text of a list of parts, ``<image>`` where one is an image; None if it holds something else."""
    texts: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _IMAGE_PARTS:
            texts.append(IMAGE_MARKER)
            named = part.get(kind) or part.get("path") or part.get("url")
            named = named.get("url") if isinstance(named, dict) else named
            images += [named] if isinstance(named, str) and named else []
        else:
            return None
    return "".join(texts)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; ``value`` is kept to the letter."""

    role: Role
    value: str


@dataclass(frozen=True, slots=True)
class Form:
    """How a record was spelled, so that ``to_original`` changes nothing.

    Attributes:
        spelled: the names and shape of its turns.
        image_key: its name for the images.
        image_is_list: a list of paths, even of one.
        keys: top-level keys in order; empty for a sample that was no JSON object.
        verbatim: values that the sample's fields cannot restore (id with its type, null, ``meta``).
        derived_id: the record had no id; the sample's is a digest of its content.
    """

    spelled: SpelledTurns = OWN_SPELLING
    image_key: str = "image"
    image_is_list: bool = False
    keys: tuple[str, ...] = ()
    verbatim: Mapping[str, Any] = field(default_factory=dict)
    derived_id: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a dataset.

    Attributes:
        id: unique in a set; ``source/split/own id`` where the source has ids.
        image: paths relative to the dataset's image root, or URLs; empty for text-only rows.
        conversations: at least one turn.
        answers: all references with their repetition (ten votes stay ten).
        meta: whatever the schema has no field for, unaltered.
        form: the original spelling.
        embedded: bytes of the images that the dataset itself carries, by path; ``curate.readers.images``
            writes them to files.
    """

    id: str
    image: tuple[str, ...]
    conversations: tuple[Turn, ...]
    answers: tuple[str, ...] = ()
    source: str = ""
    split: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    form: Form = Form()
    embedded: Mapping[str, bytes] = field(default_factory=dict)

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
        source, split: of the rows before it; '' for a row that comes first.
    """

    where: str
    reason: str
    position: int
    source: str = ""
    split: str = ""


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer, ties by first occurrence; '' for none."""
    return Counter(answers).most_common(1)[0][0] if answers else ""


def full_id(own: str, source: str, split: str) -> str:
    """``source/split/own``, unless ``own`` already begins so."""
    prefix = "/".join(part for part in (source, split) if part)
    return own if not prefix or own.startswith(f"{prefix}/") else f"{prefix}/{own}"


def from_record(record: Mapping[str, Any], *, source: str = "", split: str = "", where: str = "record") -> Sample:
    """Read one JSON object: Winnow's own form, LLaVA, ShareGPT or ms-swift.

    Args:
        record: the parsed object, its turns as ``winnow.records.read_turns`` knows them; unknown keys
            go to ``meta``.
        source, split: used where the record does not name its own.
        where: file and line, for errors.

    Raises:
        UserError: no conversation, an unknown role or a value of the wrong type.
    """
    spelled = read_turns(record, where)
    image_key = next(
        (key for key in ("image", "images") if record.get(key)), "images" if "images" in record else "image"
    )
    image, answers, own_meta = record.get(image_key), record.get("answers"), record.get("meta")
    listed = [image] if isinstance(image, str | dict) and image else image or list(spelled.images)
    found = [one.get("path") if isinstance(one, dict) else one for one in listed] if isinstance(listed, list) else [""]
    paths = [path for path in found if isinstance(path, str) and path]
    if len(paths) < len(found):
        raise UserError(f"{where}: {image_key!r} must be a path or a list of paths")
    if not isinstance(answers, list | None) or not all(isinstance(answer, str) for answer in answers or []):
        raise UserError(f"{where}: 'answers' must be a list of strings")
    if not isinstance(own_meta, dict | None):
        raise UserError(f"{where}: 'meta' must be an object")
    source, split = record.get("source") or source, record.get("split") or split
    own_id = record.get("id")
    if not isinstance(source, str) or not isinstance(split, str) or not isinstance(own_id, str | int | float | None):
        raise UserError(f"{where}: 'id', 'source' and 'split' must be texts (an id may be a number)")
    understood = {"id", image_key, "answers", "source", "split", "meta", *spelled.used}
    meta = dict(own_meta or {})
    meta.update({key: value for key, value in record.items() if key not in understood})
    if own_id is not None and not isinstance(own_id, str):
        meta.setdefault("id", own_id)  # keeps its type
    kept = {"id": own_id, "meta": own_meta}
    restored = (image_key, "answers", "source", "split", *spelled.used)
    kept.update({key: record[key] for key in restored if not record.get(key, True)})
    if listed != paths:
        kept[image_key] = image
    return Sample(
        id=full_id(digest_of(dict(record))[:16] if own_id in (None, "") else str(own_id), source, split),
        image=tuple(paths),
        conversations=tuple(Turn(role, text) for role, text in spelled.turns),
        answers=tuple(answers or ()),
        source=source,
        split=split,
        meta=meta,
        form=Form(
            spelled,
            image_key,
            isinstance(image, list),
            tuple(record),
            {key: value for key, value in kept.items() if key in record},
            own_id in (None, ""),
        ),
    )


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


def to_original(sample: Sample) -> dict[str, Any]:
    """The record in the form it was read in: keys and their order, role names, types, unknown fields.

    A sample read from a JSON object gives that object back, value for value. One that came from
    elsewhere (a table, a package) has no such form and is written in Winnow's own.
    """
    form = sample.form
    if not form.keys:
        return to_record(sample)
    values: dict[str, Any] = {
        **sample.meta,
        **spell_turns([(turn.role, turn.value) for turn in sample.conversations], form.spelled, form.keys),
        form.image_key: list(sample.image) if form.image_is_list or len(sample.image) != 1 else sample.image[0],
        "answers": list(sample.answers),
        "source": sample.source,
        "split": sample.split,
        **form.verbatim,
    }
    return {key: values[key] for key in form.keys}


def to_line(sample: Sample) -> str:
    """``to_record`` as one JSON line without the line break."""
    return json.dumps(to_record(sample), ensure_ascii=False)


_MAX_LINE = 64 << 20
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(text: bytes) -> Any:
    """Parse untrusted JSON.

    Raises:
        ValueError: not JSON, not UTF-8, too deep, or text that UTF-8 cannot hold (half a surrogate pair).
    """
    try:
        value = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def read_rows(path: Path, *, source: str = "", split: str = "") -> Iterator[Sample | BadRow]:
    """Stream a JSONL file of any form that ``from_record`` knows; a bad line becomes a ``BadRow``.

    Raises:
        UserError: the file is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    position = 0
    for number, line in json_lines(path):
        if not line.strip():
            continue
        yield sample_or_bad(line, position, source=source, split=split, where=f"{path}:{number}")
        position += 1


def sample_or_bad(line: bytes, position: int, *, source: str, split: str, where: str) -> Sample | BadRow:
    """One JSON text as a sample, or what is wrong with it."""
    try:
        if len(line) > _MAX_LINE:
            raise ValueError(f"longer than {_MAX_LINE >> 20} MiB")
        record = parse_json(line)
    except ValueError as error:
        return BadRow(where, f"not a JSON object ({error})", position)
    return record_or_bad(record, position, source=source, split=split, where=where)


def record_or_bad(record: Any, position: int, *, source: str, split: str, where: str) -> Sample | BadRow:
    """One parsed JSON value as a sample, or what is wrong with it."""
    if not isinstance(record, dict):
        return BadRow(where, "not a JSON object", position)
    try:
        return from_record(record, source=source, split=split, where=where)
    except UserError as error:
        return BadRow(where, str(error).removeprefix(f"{where}: "), position)


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line; of an overlong one only the first 64 MiB and one byte."""
    with path.open("rb") as handle:
        number = 1
        while line := handle.readline(_MAX_LINE + 1):
            rest = line
            while len(rest) > _MAX_LINE and not rest.endswith(b"\n"):
                rest = handle.readline(_MAX_LINE + 1)
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            number += 1


def read_jsonl(path: Path) -> Iterator[Sample]:
    """Stream the samples of a JSONL file in Winnow's own form.

    Raises:
        UserError: the file is missing, or a line is no JSON object or no sample.
    """
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise UserError(f"{row.where}: {row.reason}")
        yield row


def check_unique(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Pass samples on; a repeated id is an error that names both rows by position (24 bytes an id)."""
    seen = HashIndex()
    for position, sample in enumerate(samples):
        first = seen.add(sample.id, position)
        if first is not None:
            raise UserError(
                f"id {sample.id!r} occurs twice: rows {first} and {position}; ids must be unique"
                " (`ids: position` in the source's recipe numbers them)"
            )
        yield sample


_PUNCTUATION = re.compile(r"[^\w\s]|_")


def normalized(text: str) -> str:
    """NFKC, case folded, punctuation to blanks, blanks collapsed; of text that is only punctuation, the text."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_PUNCTUATION.sub(" ", folded).split()) or folded.strip()


def question_key(record: Mapping[str, Any]) -> str:
    """All user turns of a record (Winnow's form), normalised, one a line."""
    return "\n".join(
        normalized(turn["value"].replace(IMAGE_MARKER, " "))
        for turn in record.get("conversations", [])
        if turn["from"] == "user"
    )


def answer_key(record: Mapping[str, Any]) -> str:
    """All assistant turns, normalised, one a line; without any, the most frequent reference."""
    turns = [turn["value"] for turn in record.get("conversations", []) if turn["from"] == "assistant"]
    return "\n".join(normalized(turn) for turn in turns or [majority(record.get("answers", []))])
