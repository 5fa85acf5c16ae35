"""Meanings that the record has no field for: each is kept in ``meta`` under one key, however its source spells it.

An export that has a place for one writes it there under its own name; one that has none rejects the row.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.rows.conversations import ReadTurn, as_rows, common, joined_media, read_side
from winnow.rows.parts import AUDIO_MARKER, IMAGE_MARKER, VIDEO_MARKER, Media, file_of, json_text

CARRIED: dict[str, str] = {
    "videos": "paths or URLs of videos, in the order of the `<video>` markers; an item may be a list of frames",
    "audios": "paths or URLs of sounds, in the order of the `<audio>` markers",
    "objects": "what `<ref-object>` and `<bbox>` markers stand for, as ms-swift writes it:"
    ' `{"ref": ["dog"], "bbox": [[10, 20, 30, 40]]}`',
    "rejected": "the text of the answer that a preference row rejects; the conversation ends with the chosen one",
    "rejected_messages": "the whole rejected conversation, a list of `role` and `content`, where more than the text of"
    " the last answer differs",
    "rejected_images": "paths or URLs of the images of the rejected conversation, where they are others",
    "label": "`true` for a wanted conversation, `false` for an unwanted one (KTO)",
    "tools": "the tools that may be called: the JSON text of a list of definitions",
    "channel": "ms-swift's name of the group whose loss is logged apart",
    "turn_fields": "for each turn, an object of what its source has beside role, text and loss",
    "options": "the texts of a multiple-choice question, in order",
    "original_question": "the question as the source has it, where the trained one differs",
    "original_answer": "the answer as the source has it, where the trained one differs",
}
# Fields of a turn that say nothing about what is trained, and weights, which exports know.
_TURN_FIELDS = frozenset(
    {"id", "type", "name", "tool_call_id", "call_id", "index", "source", "loss_weight", "loss_scale", "weight"}
)
_FRAME = re.compile(r"\.(jpe?g|png|webp|bmp)$", re.IGNORECASE)
_REJECTED = ("rejected_messages", "rejected_response", "rejected")
_KEYS = frozenset(
    {
        "videos", "video", "audios", "audio", "objects", "tools", "channel", "label", "kto_tag", "rejected_images",
        *_REJECTED,
    }
)  # fmt: skip
_GROUNDED = {"<ref-object>": "ref", "<bbox>": "bbox"}  # the lists of `objects` by marker


def read_carried(
    record: Mapping[str, Any], turns: Sequence[ReadTurn], media: Media, named: Mapping[str, str]
) -> tuple[dict[str, Any], set[str]]:
    """What a record carries, by the keys of ``CARRIED``, and the record's own keys for it.

    Args:
        turns: the record's conversation.
        media: what the markers of the turns stand for.
        named: as for ``winnow.rows.parts.pieces``.

    Raises:
        ValueError: a value is of the wrong type.
    """
    if _KEYS.isdisjoint(record) and media.keys() <= {IMAGE_MARKER} and not any(turn.extra for turn in turns):
        return {}, set()  # so nearly all records are
    found: dict[str, Any] = {}
    used = {"videos", "video", "audios", "audio"}
    for key, marker in (("videos", VIDEO_MARKER), ("audios", AUDIO_MARKER)):
        listed = listed_files(record, key, key[:-1])
        listed += [file for file in listed_files(record, key[:-1], key[:-1]) if file not in listed]
        if len(listed) > 1 and all(isinstance(file, str) and _FRAME.search(file) for file in listed):
            marked = len(media.get(marker) or media.get(IMAGE_MARKER) or [])
            listed = listed if marked == len(listed) else [listed]  # the frames of one video
        found[key] = placed(media.get(marker, ()), listed)
    found |= _rejected(record, turns, media, named, used)
    for key, kinds in (("tools", str | list), ("channel", str)):
        if record.get(key) and not isinstance(record[key], kinds):
            raise ValueError(f"{key!r} must be a text{' or a list' if key == 'tools' else ''}")
        found[key] = json_text(record[key]) if record.get(key) else None
        used.add(key)
    label = next((key for key in ("kto_tag", "label") if isinstance(record.get(key), bool)), "")
    if not label and record.get("kto_tag") is not None:
        raise ValueError("'kto_tag' must be true or false")
    found["label"] = record.get(label)
    used.add(label or "kto_tag")
    if _objects(record, turns):
        found["objects"] = _objects_in(record)
        used.add("objects")
    if any(turn.extra for turn in turns):
        found["turn_fields"] = [dict(turn.extra) for turn in turns]
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}, used


def unknown_turn_fields(meta: Mapping[str, Any]) -> list[str]:
    """Names of the fields of a sample's turns that nothing uses, sorted."""
    fields = meta.get("turn_fields")
    turns = (turn for turn in fields if isinstance(turn, dict)) if isinstance(fields, list) else ()
    return sorted({name for turn in turns for name in turn} - _TURN_FIELDS)


def objects_of(meta: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What a sample's ``<ref-object>`` and ``<bbox>`` stand for, in order, by marker."""
    objects = meta.get("objects")
    lists = {key: objects.get(key) if isinstance(objects, dict) else None for key in _GROUNDED.values()}
    return {marker: found if isinstance(found := lists[key], list) else [] for marker, key in _GROUNDED.items()}


def listed_files(record: Mapping[str, Any], key: str, kind: str) -> list[Any]:
    """The files that a record lists under a key: one, or a list.

    Raises:
        ValueError: it lists something else.
    """
    value = record.get(key)
    if value is None or value in ("", [], {}):
        return []
    if isinstance(value, str):
        if value[:2] != '["':
            return [value]
        # a list in a cell of a table
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    files = [file_of(item, kind) for item in (value if isinstance(value, list) else [value])]
    if None in files and len(files) > 1:
        raise ValueError(f"{key!r} must be a path or a list of paths")
    return [file for file in files if file is not None]


def placed(marked: Sequence[Any], listed: list[Any]) -> list[Any]:
    """Files in the order of their markers, then those that no marker stands for.

    Args:
        marked: for each marker the file that it names, None for the next of ``listed``.
        listed: files that the record lists beside its turns.
    """
    if marked.count(None) == len(marked):
        return listed
    rest = list(listed)
    for file in marked:
        if file in rest:
            rest.remove(file)
    files = [rest.pop(0) if file is None and rest else file for file in marked]
    return [file for file in files if file is not None] + rest


def _rejected(
    record: Mapping[str, Any], turns: Sequence[ReadTurn], media: Media, named: Mapping[str, str], used: set[str]
) -> dict[str, Any]:
    used |= {"rejected_images"}
    images = listed_files(record, "rejected_images", "image")
    given = [key for key in _REJECTED if record.get(key) not in (None, "", [], {})]
    if given == ["rejected"] and not isinstance(record["rejected"], str | dict | list):
        given = []  # a mark of another kind, which stays what it is
    if not given:
        return {"rejected_images": images}
    if len(given) > 1:
        raise ValueError(f"has both {given[0]!r} and {given[1]!r}")
    key = given[0]
    used.add(key)
    side = read_side(record[key], (key,), "assistant", named)
    if isinstance(record[key], str) and key != "rejected_messages":
        return {"rejected": side[0].turn.value, "rejected_images": images}
    own: Media = joined_media(side)
    for marker, files in own.items():
        if any(file is not None for file in files) and files != media.get(marker):
            if marker != IMAGE_MARKER:
                raise ValueError(f"{key!r} has other files at its {marker} than the conversation")
            images = placed(files, images)
    answered = bool(turns) and turns[-1].turn.role == "assistant"
    before = turns[: len(turns) - 1 if answered else len(turns)]
    if side[0].turn.role == "assistant" and key != "rejected_messages":
        asked = max(
            (at for at, read in enumerate(turns) if read.turn.role == "user" and not read.turn.name), default=-1
        )
        side = (*turns[: asked + 1], *side)
    last = side[-1]
    if (
        len(side) == len(before) + 1 == common(before, side) + 1
        and last.turn.role == "assistant"
        and not last.turn.name
        and not last.extra
        and last.turn.loss in (None, True)
        and not images
    ):
        return {"rejected": last.turn.value}
    return {"rejected_messages": as_rows(side), "rejected_images": images}


def _objects_in(record: Mapping[str, Any]) -> Any:
    """The value of ``objects``, parsed if it is the JSON text of an object."""
    value = record.get("objects")
    if isinstance(value, str) and value[:1] == "{":
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _objects(record: Mapping[str, Any], turns: Sequence[ReadTurn]) -> bool:
    """Whether ``objects`` is what the markers of a grounding row stand for."""
    value = _objects_in(record)
    lists = [value[key] for key in _GROUNDED.values() if key in value] if isinstance(value, dict) else []
    if not all(isinstance(items, list | None) for items in lists):
        raise ValueError("'objects' needs lists as 'ref' and 'bbox'")
    marked = next((marker for marker in _GROUNDED for read in turns if marker in read.turn.value), None)
    if marked and not lists and value not in (None, "", [], {}):
        raise ValueError(f"{marked} needs 'objects' to be an object with 'ref' and 'bbox'")
    return bool(lists)
