"""Rows of named columns as samples.

Columns are found by name (``COLUMN_NAMES``, the first that is there; letter case does not count) or named in the
recipe: ``columns: {image: pic, answers: refs}``. Columns without a role go to ``meta``. A table with captions and no
question gets the question ``Describe the image.`` Without an image column, ``image_1``, ``image_2`` … are the images.
A row that holds a whole conversation is read as in ``winnow.records.from_record``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curate.readers.fields import CAPTION_QUESTION, conversation
from curate.readers.images import is_encoded
from curate.readers.json import RawRow
from curate.readers.tables import image_cell, json_value, texts
from curate.recipe import SourceSettings
from winnow.conversations import holds_conversation
from winnow.errors import UserError
from winnow.files import digest_of, sha256_bytes
from winnow.records import Form, Sample, Turn, full_id, majority

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "sample_id", "question_id", "qid", "uid", "key", "__key__"),
    "image": (
        "image", "images", "image_path", "image_paths", "img", "img_path", "image_file", "file_name", "file_names",
        "filename", "image_name", "filepath", "path", "image_bytes", "image_base64", "img_base64", "base64",
        "image_url", "url", "jpg", "png",
    ),
    "question": ("question", "query", "prompt", "instruction"),
    "answer": ("answer", "response", "output", "target", "gt_answer"),
    "answers": ("answers", "references", "gt_answers", "labels"),
    "caption": ("caption", "captions", "sentence", "sentences", "description", "text", "comment"),
    "split": ("split",),
    "source": ("source", "dataset"),
}  # fmt: skip
_NUMBERED_IMAGE = re.compile(r"(?:image|img)_?(\d+)", re.IGNORECASE)
_KEY_SETS = 1000


class Columns:
    """Makes samples of the rows of one table; objects of a JSONL file may differ in their keys."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._roles_of: dict[tuple[str, ...], dict[str, str]] = {}

    def sample(self, row: RawRow, _: object = None) -> Sample:
        """A row as a sample; fits ``Reading.to_sample``, but the columns name the images.

        Raises:
            UserError: the first row has no column for the answer, or a column that the recipe names is missing.
            ValueError: a later row lacks what a sample needs.
        """
        values = row.fields
        if holds_conversation(values):
            return _conversation(values, self._settings, row.where)
        return _sample(values, self._roles(tuple(values)), self._settings, row.where)

    def _roles(self, names: tuple[str, ...]) -> dict[str, str]:
        if names not in self._roles_of:
            location = self._settings.location
            try:
                found = find_columns(list(names), self._settings.columns, where=location)
            except UserError as error:
                if not self._roles_of:
                    raise
                raise ValueError(str(error).removeprefix(f"{location}: ")) from None
            if len(self._roles_of) == _KEY_SETS:
                self._roles_of = {}
            self._roles_of[names] = found
        return self._roles_of[names]


def find_columns(names: list[str], wanted: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Role to column name, for the roles that the table has a column for.

    Raises:
        UserError: a named role or column does not exist, or none holds answers or captions.
    """
    unknown = [role for role in wanted if role not in COLUMN_NAMES]
    if unknown:
        raise UserError(f"columns: unknown role {unknown[0]!r}; roles are {', '.join(COLUMN_NAMES)}")
    absent = [column for column in wanted.values() if column not in names]
    if absent:
        raise UserError(f"{where}: has no column {absent[0]!r}; its columns are {', '.join(names)}")
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {
        role: next(by_lower[option] for option in options if option in by_lower)
        for role, options in COLUMN_NAMES.items()
        if role not in wanted and any(option in by_lower for option in options)
    }
    found.update(wanted)
    if not {"answer", "answers", "caption"} & found.keys():
        raise UserError(
            f"{where}: no column with answers or captions among {', '.join(names)};"
            " name it in the recipe, e.g. columns: {answer: <column>}"
        )
    if "question" in found and {"answer", "answers"} & found.keys() and "caption" not in wanted:
        found.pop("caption", None)
    return found


def _conversation(values: Mapping[str, Any], settings: SourceSettings, where: str) -> Sample:
    """A row that holds a whole conversation; its image may be bytes."""
    by_lower = {name.lower(): name for name in reversed(list(values))}
    wanted = [settings.columns["image"]] if "image" in settings.columns else COLUMN_NAMES["image"]
    column = next((by_lower[name] for name in wanted if name in by_lower), None)
    numbered = [] if column else numbered_images(values)
    image = image_cell([values[name] for name in numbered] if numbered else values.get(column or ""), where)
    record = {name: json_value(value) for name, value in values.items() if name not in (column, *numbered)}
    if image.paths:
        record["image"] = list(image.paths) if len(image.paths) > 1 else image.paths[0]
    made = conversation(record, where, source=source_name(settings), split=settings.split)
    return dataclasses.replace(made, embedded=image.embedded)


def _sample(values: Mapping[str, Any], roles: Mapping[str, str], settings: SourceSettings, where: str) -> Sample:
    cell = {role: values[column] for role, column in roles.items()}
    numbered = [] if "image" in roles else numbered_images(values)
    claimed = {*roles.values(), *numbered}
    meta = {name: json_value(value) for name, value in values.items() if name not in claimed}
    image = image_cell([values[name] for name in numbered] if numbered else cell.get("image"), where)
    references, raw = texts(cell.get("answers"))
    captions, _ = texts(cell.get("caption"))
    answer, answer_raw = texts(cell.get("answer"))
    if raw is not None:
        meta[roles["answers"]] = json_value(raw)
    if answer_raw is not None:
        meta[roles["answer"]] = json_value(answer_raw)
    if image.names:
        meta.setdefault("image_path", image.names[0] if len(image.paths) == 1 else list(image.names))
    references = references or answer or captions
    question = cell.get("question")
    if not question and captions and not answer:
        question = CAPTION_QUESTION
    if not isinstance(question, str) or not question.strip():
        raise ValueError("no question")
    given = answer[0] if answer else majority(references)
    source = str(cell.get("source") or source_name(settings))
    split = str(cell.get("split") or settings.split)
    own_id = cell.get("id")
    if own_id not in (None, "") and not isinstance(own_id, str):
        meta.setdefault(roles["id"], json_value(own_id))  # keeps its type
    return Sample(
        id=full_id(str(own_id) if own_id not in (None, "") else _digest(values, image.embedded), source, split),
        image=image.paths,
        conversations=(Turn("user", question), *((Turn("assistant", given),) if given else ())),
        answers=references,
        source=source,
        split=split,
        meta=meta,
        form=Form(derived_id=own_id in (None, "")),
        embedded=image.embedded,
    )


def source_name(settings: SourceSettings) -> str:
    """The dataset's name: the recipe's, else the file's or folder's, or the constant beginning of a pattern."""
    if settings.source is not None:
        return settings.source
    return re.split(r"[{*?\[]", Path(settings.location).stem)[0].rstrip("-_.") or Path(settings.location).parent.name


def numbered_images(names: Iterable[str]) -> list[str]:
    """``image_1``, ``image_2`` … among column names, by number."""
    found = {name: int(number[1]) for name in names if (number := _NUMBERED_IMAGE.fullmatch(name))}
    return sorted(found, key=lambda name: (found[name], name))


def _digest(values: Mapping[str, Any], embedded: Mapping[str, bytes]) -> str:
    """Stable digest of a row without an id; images count by their content's digest."""
    digests = {sha256_bytes(data) for data in embedded.values()}
    plain = {name: value for name, value in values.items() if not _holds_bytes(value)} if embedded else values
    return digest_of([sorted(digests), json_value(dict(plain))] if embedded else json_value(dict(plain)))[:16]


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes)
    if isinstance(value, list):
        return any(_holds_bytes(item) for item in value)
    return isinstance(value, bytes) or (isinstance(value, str) and is_encoded(value))
