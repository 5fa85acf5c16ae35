"""A sample as a JSON object, in Winnow's own form or as it was spelled, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from curate.sample import Form, Sample, Turn, full_id
from curate.turns import read_turns, spell_turns
from winnow.errors import UserError
from winnow.files import digest_of


def from_record(record: Mapping[str, Any], *, source: str = "", split: str = "", where: str = "record") -> Sample:
    """Read one JSON object: Winnow's own form, LLaVA, ShareGPT or ms-swift.

    Args:
        record: the parsed object, its turns as ``curate.turns.read_turns`` knows them; unknown keys
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
