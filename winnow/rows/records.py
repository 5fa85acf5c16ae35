"""``Sample``, the row that every stage works on: read from a JSON object, and written as one.

Readers yield ``Sample | BadRow``, so that a bad row costs only itself. A sample read from a JSON object is
written back in the form it had (``to_original``) or in Winnow's own (``to_record``).
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from winnow.errors import UserError
from winnow.files import digest_of
from winnow.rows.carried import listed_files, placed, read_carried, unknown_turn_fields
from winnow.rows.conversations import ReadTurn, joined_media, own_turns, read_conversation, with_video_markers
from winnow.rows.conversations import Turn as Turn
from winnow.rows.parts import IMAGE_MARKER, MEDIA_MARKERS, VIDEO_MARKER


@dataclass(frozen=True, slots=True)
class Form:
    """What a sample was read from.

    Attributes:
        record: the JSON object, which ``to_original`` gives back; None for a sample that was none.
        derived_id: the record had no id; the sample's is a digest of its content.
    """

    record: Mapping[str, Any] | None = None
    derived_id: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a dataset.

    Attributes:
        id: unique in a set; ``source/split/own id`` where the source has ids.
        image: paths relative to the dataset's image root, or URLs; empty for text-only rows.
        conversations: at least one turn.
        answers: all references with their repetition (ten votes stay ten).
        meta: whatever the schema has no field for; what changes the meaning of a row is under the keys of
            ``winnow.rows.carried.CARRIED``.
        form: what it was read from.
        embedded: bytes of the images that the dataset itself carries, by path; ``curate.readers.images.store``
            writes them to files.
        unclaimed: fields of the row that its reader knows no role for and keeps in ``meta`` alone.
        notes: what the reader assumed although the row does not say so, one clause each; a dataset has few different
            ones, to be counted and shown.
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
    notes: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """The first user turn without markers of files, stripped; '' if there is none."""
        for turn in self.conversations:
            if turn.role == "user":
                return without_markers(turn.value).strip()
        return ""

    @property
    def answer(self) -> str:
        """The first assistant turn that is no call of a tool, '' if there is none."""
        return next((turn.value for turn in self.conversations if turn.role == "assistant" and not turn.name), "")


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
    if len(answers) < 2:
        return answers[0] if answers else ""
    return Counter(answers).most_common(1)[0][0]


def full_id(own: str, source: str, split: str) -> str:
    """``source/split/own``, unless ``own`` already begins so."""
    prefix = f"{source}/{split}" if source and split else source or split
    return own if not prefix or own.startswith(f"{prefix}/") else f"{prefix}/{own}"


_NOT_USED = "turns have a field {!r}, which is kept under `meta.turn_fields` and used by no export"
_ID_TYPES = (str, int, float)
_UNDERSTOOD = frozenset({"id", "answers", "source", "split", "meta"})
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_NUMBERED_MARKER = re.compile(r"<\|?image[ _]?(\d{1,4})\|?>")
_NUMBERED_FORMS = ("<image_{}>", "<image{}>", "<image {}>", "<|image_{}|>")


def from_record(record: Mapping[str, Any], *, source: str = "", split: str = "", where: str = "record") -> Sample:
    """Read one JSON object: Winnow's own form, or any that ``winnow.rows.conversations`` knows.

    Args:
        record: the parsed object. Keys that are neither read nor carried go to ``meta`` as they are; what they or
            carried keys replace there is kept in ``meta.meta``.
        source, split: used where the record does not name its own.
        where: file and line, for errors.

    Raises:
        UserError: the record has no conversation, an unknown role or a value of the wrong type.
    """
    answers, own_meta = record.get("answers"), record.get("meta")
    listed = answers is None or isinstance(answers, list)
    if not listed or (answers and {*map(type, answers)} != {str} and not all(isinstance(one, str) for one in answers)):
        raise UserError(f"{where}: 'answers' must be a list of strings")
    if own_meta is not None and not isinstance(own_meta, dict):
        raise UserError(f"{where}: 'meta' must be an object")
    source, split = record.get("source") or source, record.get("split") or split
    own_id = record.get("id")
    known_id = own_id is None or isinstance(own_id, _ID_TYPES)
    if not isinstance(source, str) or not isinstance(split, str) or not known_id:
        raise UserError(f"{where}: 'id', 'source' and 'split' must be texts (an id may be a number)")
    read = _read(record, where)
    understood = _UNDERSTOOD | read.used
    rest = {key: record[key] for key in record if key not in understood}
    meta = {**(own_meta or {}), **rest, **read.carried}
    if (own_meta and rest) or read.carried:
        hidden = {
            key: value
            for held, above in ((own_meta or {}, {**rest, **read.carried}), (rest, read.carried))
            for key, value in held.items()
            if key in above and above[key] != value
        }
        if hidden:
            meta["meta"] = hidden
    if own_id is not None and not isinstance(own_id, str):
        meta.setdefault("id", own_id)  # keeps its type
    return Sample(
        id=full_id(digest_of(dict(record))[:16] if own_id in (None, "") else str(own_id), source, split),
        image=tuple(read.images),
        conversations=tuple([turn.turn for turn in read.turns]),
        answers=tuple(answers or ()),
        source=source,
        split=split,
        meta=meta,
        form=Form(record, own_id in (None, "")),
        unclaimed=tuple([key for key, value in rest.items() if value not in _EMPTY]) if rest else (),
        notes=tuple(map(_NOT_USED.format, unknown_turn_fields(read.carried))) if read.carried else (),
    )


class _Read(NamedTuple):
    """Turns, images and carried meanings of a record, and the keys that they were read from."""

    turns: tuple[ReadTurn, ...]
    images: list[str]
    carried: dict[str, Any]
    used: Set[str]


def _read(record: Mapping[str, Any], where: str) -> _Read:
    try:
        return _read_spelled(record)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


_USED_OF_OWN = frozenset({"conversations", "image"})


def _read_spelled(record: Mapping[str, Any]) -> _Read:
    if turns := own_turns(record):
        return _Read(turns, listed_files(record, "image", "image"), {}, _USED_OF_OWN)
    named = _named_images(record)
    turns, used = read_conversation(record, named)
    media = joined_media(turns)
    images, image_keys = _images(record, media.get(IMAGE_MARKER, []), named)
    carried, carried_keys = read_carried(record, turns, media, named)
    videos = carried.get("videos", ())
    if videos and not images:  # LLaVA marks a video as an image
        asked = joined_media(read for read in turns if read.turn.role == "user")
        if VIDEO_MARKER not in asked and len(asked.get(IMAGE_MARKER, [])) == len(videos):
            turns = with_video_markers(turns)
    return _Read(turns, images, carried, {*used, *image_keys, *carried_keys})


def _named_images(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Images by marker: MiniCPM-V's ``{"<image_00>": path}``, or a list that ``<|image_1|>`` counts through."""
    image = record.get("image")
    if isinstance(image, dict):
        return image if image and all(map(_NUMBERED_MARKER.fullmatch, image)) else {}
    files = record.get("images") or image
    return numbered_images(files, str(record)) if isinstance(files, list) else {}


def numbered_images(files: Sequence[Any], text: str) -> dict[str, str]:
    """Images by the marker of their number (``<image_1>``, ``<|image_2|>``), as far as the text has such markers.

    They are counted from 0 if the text has a marker of that number.
    """
    if not (numbers := set(_NUMBERED_MARKER.findall(text))):
        return {}
    start = 0 if any(int(number) == 0 for number in numbers) else 1
    paths = {number: file for number, file in enumerate(files, start) if isinstance(file, str)}
    known = [number for number in numbers if int(number) in paths]
    return {form.format(number): paths[int(number)] for number in known for form in _NUMBERED_FORMS}


def _images(
    record: Mapping[str, Any], marked: list[str | None], named: Mapping[str, str]
) -> tuple[list[str], tuple[str, ...]]:
    """Its images in order, and the keys that they were read from.

    ``image`` and ``images`` are read together, unless one of them alone has as many as there are markers.
    """
    if isinstance(record.get("image"), dict) and named:
        return placed(marked, listed_files({"image": list(named.values())}, "image", "image")), ("image",)
    single, several = listed_files(record, "image", "image"), listed_files(record, "images", "image")
    if single and several:
        more = [path for path in several if path not in single]
        if len(marked) in (len(single), len(several)) and len(marked) != len(single) + len(more):
            return (single, ("image",)) if len(marked) == len(single) else (several, ("images",))
        single = single + more if set(single) - set(several) else several
        several = []
    return placed(marked, single or several), ("image", "images")


def to_record(sample: Sample) -> dict[str, Any]:
    """The sample in Winnow's own form (``id``, ``image``, ``conversations`` …), JSON-able."""
    record: dict[str, Any] = {"id": sample.id}
    if sample.image:
        record["image"] = sample.image[0] if len(sample.image) == 1 else list(sample.image)
    record["conversations"] = [
        {"from": turn.name or turn.role, "value": turn.value}
        if turn.loss is None
        else {"from": turn.name or turn.role, "value": turn.value, "loss": turn.loss}
        for turn in sample.conversations
    ]
    if sample.answers:
        record["answers"] = list(sample.answers)
    record.update({"source": sample.source, "split": sample.split, "meta": dict(sample.meta)})
    return record


def to_original(sample: Sample) -> dict[str, Any]:
    """The record that a sample was read from, value for value, with the sample's own texts and answers.

    A text or an answer that differs from what was read (a reviewer's correction) takes the place of that. A sample
    from elsewhere (a table, a package) has no such record and is written in Winnow's own form.

    Raises:
        UserError: a turn differs whose text was put together of parts, or the number of turns differs.
    """
    if sample.form.record is None:
        return to_record(sample)
    record = dict(sample.form.record)
    turns = _read(record, sample.id).turns
    if len(turns) != len(sample.conversations):
        raise UserError(f"{sample.id}: has {len(sample.conversations)} turns, its record {len(turns)}")
    changed = [(turn, read) for turn, read in zip(sample.conversations, turns, strict=True) if turn != read.turn]
    if changed:
        record = copy.deepcopy(record)
    for turn, read in changed:
        _put(record, read, turn.value, sample.id)
    if list(sample.answers) != (record.get("answers") or []):
        record["answers"] = list(sample.answers)
    return record


def _put(record: dict[str, Any], read: ReadTurn, text: str, sample_id: str) -> None:
    """Write a text in the place that a turn was read from."""
    holder: Any = record
    for step in read.place[:-1]:
        holder = holder[step]
    if not read.place or holder[read.place[-1]] != read.turn.value:
        raise UserError(
            f"{sample_id}: a changed turn cannot be written back, because its text was put together of parts"
        )
    holder[read.place[-1]] = text


def to_line(sample: Sample) -> str:
    """``to_record`` as one JSON line without the line break."""
    turns = ", ".join([_turn_text(turn) for turn in sample.conversations])
    image = answers = ""
    if sample.image:
        single = len(sample.image) == 1
        image = f'"image": {_text(sample.image[0]) if single else _texts(sample.image)}, '
    if sample.answers:
        answers = f'"answers": {_texts(sample.answers)}, '
    meta = _LINE.encode({**sample.meta}) if sample.meta else "{}"
    return (
        f'{{"id": {_text(sample.id)}, {image}"conversations": [{turns}], {answers}"source": {_text(sample.source)},'
        f' "split": {_text(sample.split)}, "meta": {meta}}}'
    )


def with_id(line: str, own: str, new: str) -> str:
    """A line of ``to_line`` with another id."""
    return f'{{"id": {_text(new)}{line[len(_text(own)) + 7 :]}'


_LINE = json.JSONEncoder(ensure_ascii=False)
_text = json.encoder.encode_basestring  # a text as ``_LINE`` writes it


def _texts(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _turn_text(turn: Turn) -> str:
    loss = "" if turn.loss is None else f', "loss": {_LINE.encode(turn.loss)}'
    return f'{{"from": {_text(turn.name or turn.role)}, "value": {_text(turn.value)}{loss}}}'


def without_markers(text: str, instead: str = "") -> str:
    """A text with ``<image>``, ``<video>`` and ``<audio>`` replaced."""
    if "<" in text:
        for marker in MEDIA_MARKERS:
            text = text.replace(marker, instead)
    return text
