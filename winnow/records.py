"""``Sample``, the row that every stage works on, and its forms on disk: a JSON object, and JSON lines.

Readers yield ``Sample | BadRow``, so that a bad row costs only itself. A sample read from a JSON object is
written back in the form it had (``to_original``) or in Winnow's own (``to_record``).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from winnow.conversations import IMAGE_MARKER, OWN_SPELLING, Role, SpelledTurns, read_turns, spell_turns
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.hash_index import HashIndex


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; ``value`` is kept character for character."""

    role: Role
    value: str


@dataclass(frozen=True, slots=True)
class Form:
    """The original form of a record, with which ``to_original`` restores it.

    Attributes:
        spelled: the names and shape of its turns.
        image_key: its key for the images.
        image_is_list: the images are a list of paths, even a single one.
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
        unclaimed: fields of the row that its reader knows no role for and keeps in ``meta`` alone.
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
    unclaimed: tuple[str, ...] = ()

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
    """A row that could not be read.

    Readers yield it between samples; a curation writes it to its ledger. Where a bad row must not pass,
    raise ``UserError(f"{bad.where}: {bad.reason}")``.

    Attributes:
        where: file and line (or row), for messages.
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
        record: the parsed object, with turns that ``winnow.conversations.read_turns`` knows; unknown keys
            go to ``meta``.
        source, split: used where the record does not name its own.
        where: file and line, for errors.

    Raises:
        UserError: the record has no conversation, an unknown role or a value of the wrong type.
    """
    spelled = read_turns(record, where)
    image_key = next(
        (key for key in ("image", "images") if record.get(key)), "images" if "images" in record else "image"
    )
    image, answers, own_meta = record.get(image_key), record.get("answers"), record.get("meta")
    listed = [image] if isinstance(image, str | dict) and image else image or list(spelled.images)
    items = listed if isinstance(listed, list) else [""]
    found = [item.get("path") if isinstance(item, dict) else item for item in items]
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
    """The record in its original form: keys and their order, role names, types, unknown fields.

    A sample read from a JSON object gives that object back, value for value. A sample from elsewhere
    (a table, a package) has no such form and is written in Winnow's own.
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
        ValueError: not JSON, not UTF-8, nested too deeply, or with text that UTF-8 cannot hold (half of a
            surrogate pair).
    """
    try:
        value = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def read_rows(path: Path, *, source: str = "", split: str = "") -> Iterator[Sample | BadRow]:
    """Stream a JSONL file in any form that ``from_record`` knows; a bad line becomes a ``BadRow``.

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
    """Read one JSON text as a sample; what is wrong with it becomes a ``BadRow``."""
    try:
        if len(line) > _MAX_LINE:
            raise ValueError(f"longer than {_MAX_LINE >> 20} MiB")
        record = parse_json(line)
    except ValueError as error:
        return BadRow(where, f"not a JSON object ({error})", position)
    return record_or_bad(record, position, source=source, split=split, where=where)


def record_or_bad(record: Any, position: int, *, source: str, split: str, where: str) -> Sample | BadRow:
    """Read one parsed JSON value as a sample; what is wrong with it becomes a ``BadRow``."""
    if not isinstance(record, dict):
        return BadRow(where, "not a JSON object", position)
    try:
        return from_record(record, source=source, split=split, where=where)
    except UserError as error:
        return BadRow(where, str(error).removeprefix(f"{where}: "), position)


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line of a file, as ``numbered_lines`` gives them."""
    with path.open("rb") as handle:
        yield from numbered_lines(handle)


def numbered_lines(handle: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line; an overlong line is cut after 64 MiB and one byte."""
    number = 1
    while line := handle.readline(_MAX_LINE + 1):
        rest = line
        while len(rest) > _MAX_LINE and not rest.endswith(b"\n"):
            rest = handle.readline(_MAX_LINE + 1)
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        number += 1


def read_jsonl(path: Path) -> Iterator[Sample]:
    """Stream the samples of a JSONL file that Winnow wrote, where a bad line is an error.

    Raises:
        UserError: the file is missing, or a line is not a sample.
    """
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise UserError(f"{row.where}: {row.reason}")
        yield row


def check_unique(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Pass samples on, checking that no id repeats; takes about 24 bytes of memory an id.

    Raises:
        UserError: an id occurs twice; both rows are named by position.
    """
    positions = HashIndex()
    for position, sample in enumerate(samples):
        first = positions.add(sample.id, position)
        if first is not None:
            raise UserError(
                f"id {sample.id!r} occurs twice: rows {first} and {position}; ids must be unique"
                " (`ids: position` in the source's recipe numbers them)"
            )
        yield sample


_PUNCTUATION = re.compile(r"[^\w\s]|_")


def normalized(text: str) -> str:
    """The form in which two texts count as the same question or answer.

    NFKC, case folded, punctuation replaced by blanks, blanks collapsed; text that is only punctuation keeps it.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_PUNCTUATION.sub(" ", folded).split()) or folded.strip()


def question_key(record: Mapping[str, Any]) -> str:
    """All user turns of a record in Winnow's form, normalised, joined by line breaks."""
    return "\n".join(
        normalized(turn["value"].replace(IMAGE_MARKER, " "))
        for turn in record.get("conversations", [])
        if turn["from"] == "user"
    )


def answer_key(record: Mapping[str, Any]) -> str:
    """All assistant turns, normalised, joined by line breaks; without any, the most frequent reference."""
    turns = [turn["value"] for turn in record.get("conversations", []) if turn["from"] == "assistant"]
    return "\n".join(normalized(turn) for turn in turns or [majority(record.get("answers", []))])
