"""Rows of named columns as samples.

Columns are found by name (``COLUMN_NAMES``, the first that is there; letter case, blanks and ``_`` do not count) or
named in the recipe: ``columns: {image: pic, answers: refs}``; ``none`` leaves a role without a column. The column of
the images is found by its content (``image_column``), and ``image_1``, ``image_2`` … are several. What a row asks and
answers is in ``asked``, its turns in ``turns``, multiple choice in ``options``. A row that holds a whole
conversation is read as in ``winnow.rows.records.from_record``. Everything else goes to ``meta`` and, unless it is one
of ``winnow.rows.carried.CARRIED``, is named in ``Sample.unclaimed``.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.readers.alone import needs_other_rows
from curate.readers.base import Plain, possible_roots
from curate.readers.fields import caption_prompt, conversation
from curate.readers.files.json import RawRow
from curate.readers.images.store import is_encoded
from curate.readers.tables.asked import asked
from curate.readers.tables.cells import is_empty, json_value, list_literal
from curate.readers.tables.image_column import NAMES, ImageColumns, RowImages, named_images, plain_name
from curate.readers.tables.options import (
    Numbering,
    Options,
    numbering,
    option_columns,
    options_in,
    options_of_columns,
    read_options,
)
from curate.readers.tables.shared_images import SharedImages
from curate.readers.tables.turns import column_turns, paired_turns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.files import digest_of, sha256_bytes
from winnow.rows.carried import placed, read_carried
from winnow.rows.conversations import IMAGE_MARKER, holds_conversation, joined_media
from winnow.rows.records import BadRow, Form, Sample, full_id, numbered_images

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "sample_id", "question_id", "qid", "uid", "key", "__key__"),
    "image": NAMES,
    "question": (
        "question", "query", "prompt", "instruction", "problem", "question_text", "user",
        "text_input", "input",
    ),
    "input": ("input",),
    "answer": (
        "answer", "response", "output", "target", "targets", "gt_answer", "completion", "correct_answer",
        "ground_truth", "solution", "answer_key", "assistant", "reply", "text_output",
    ),
    "answers": ("answers", "references", "gt_answers", "labels"),
    "choice": (
        "correct_choice_idx", "correct_choice", "correct_option", "answer_idx", "answer_index", "answer_id",
        "correct_idx", "correct_index", "correct_answer_index", "correct_answer_idx", "correct_option_index",
        "correct_option_idx", "correct_choice_index", "correct_letter", "correct_label",
        "answer_letter", "correct", "gold", "gold_index", "cop", "label", "gt", "gt_idx",
    ),
    "options": (
        "options", "choices", "option", "choice", "candidates", "endings", "answer_options", "answer_choices",
        "multiple_choices", "option_list", "choice_list",
    ),
    "context": ("hint", "context", "passage"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "chosen": ("chosen", "chosen_response"),
    "caption": (
        "caption", "captions", "sentence", "sentences", "description", "text", "comment", "alt_text", "alt",
        "title", "txt",
    ),
    "label": ("label", "class", "class_name", "category", "cls", "fine_label"),
    "split": ("split",),
    "source": ("source", "dataset"),
}  # fmt: skip
_BY_PLAIN_NAME = {role: [plain_name(name) for name in names] for role, names in COLUMN_NAMES.items()}
_ASKS = ("question", "answer", "answers", "chosen", "caption", "label")
_CAPTION_NUMBER = re.compile(r"(?:caption|sentence)s?[\s_-]?(\d+)", re.IGNORECASE)
_INSTRUCTIONS = frozenset({"instruction", "prompt"})
_SEVERAL = frozenset({"captions", "sentences"})
_IS_INDEX = re.compile(r"idx|index|label|cop$|id$")
_MEDIA = frozenset({"video", "videos", "audio", "audios"})
_KEY_SETS = 1000
_OWN_ID, _DERIVED_ID = Form(), Form(derived_id=True)


@dataclass(frozen=True)
class Roles:
    """Which columns of a set of names have which role.

    Attributes:
        columns: role to column.
        captions: ``caption_0``, ``caption_1`` … in order.
        options: columns that hold an option each, with their labels.
    """

    columns: Mapping[str, str]
    captions: tuple[str, ...] = ()
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def names(self, used: Iterable[str]) -> set[str]:
        """The columns of the roles that were used."""
        found = {self.columns[role] for role in used if role in self.columns}
        return found | ({*self.captions} if "caption" in used else set())


class Columns:
    """Makes samples of the rows of one table; objects of a JSONL file may differ in their keys.

    Args:
        read: gives the table's rows from the start, as often as it is called.
        near: the folder that images lie near; None is that of the location.
        bare: an image with no text at all is an unanswered caption, not a bad row.
    """

    def __init__(
        self,
        settings: SourceSettings,
        read: Callable[[], Iterable[RawRow | BadRow]],
        *,
        near: Path | None = None,
        bare: bool = False,
    ) -> None:
        self._settings, self._read, self._bare = settings, read, bare
        self._source = source_name(settings)
        self._images = ImageColumns(read, possible_roots(settings, near))
        self._shared = SharedImages(read)
        self._roles_of: dict[tuple[str, ...], Roles] = {}
        self._begun = False  # a row had the columns that it needs
        self._left_of: dict[tuple[Any, ...], list[str]] = {}
        self._numbering = functools.cache(self._numbers)

    def of_split(self, split: str) -> Columns:
        """The same for the rows of one split of the table."""
        same = copy.copy(self)
        same._settings = self._settings.model_copy(update={"split": split})
        return same

    def decided(self) -> Any:
        """What the first rows decide about all rows, JSON-able."""
        return [self._settings.split, self._images.decided()]

    def plain(self) -> Plain:
        """How ``sample`` reads plain conversations: as any, once it has seen one with these columns."""
        named = "image" in self._settings.columns
        alone = functools.partial(self._images.are_in, "image")
        return Plain(self._source, self._settings.split, lambda names: not named and alone(names), may_lack_image=False)

    def sample(self, row: RawRow, _: object = None) -> Sample:
        """A row as a sample; fits ``Reading.to_sample``, but the columns name the images.

        Raises:
            UserError: the first row has no column for a question or an answer, or a column that the recipe names is
                missing.
            ValueError: a later row lacks what a sample needs.
        """
        values: Mapping[str, Any] = row.fields
        if holds_conversation(values):
            return self._conversation(values, row.where)
        if "question" not in getattr(self._roles_of.get(tuple(values)), "columns", ()):
            values = _with_pairs(values)
        return self._of_columns(values, row.where)

    def _conversation(self, values: Mapping[str, Any], where: str) -> Sample:
        """A row that holds a whole conversation; its image may be bytes."""
        images = self._images_of(values, where)
        record = {name: json_value(value) for name, value in values.items() if name not in images.columns}
        paths = images.cell.paths
        if paths:
            record["image"] = list(paths) if len(paths) > 1 else paths[0]
        made = conversation(record, where, source=self._source, split=self._settings.split)
        return dataclasses.replace(made, embedded=images.cell.embedded, notes=(*made.notes, *images.notes))

    def _of_columns(self, values: Mapping[str, Any], where: str) -> Sample:
        roles = self._roles(names := tuple(values))
        if "id" in roles.columns and "image" in values:
            values = self._shared.filled(values, "image", roles.columns["id"])
        images = self._images_of(values, where)
        cells = {role: values[column] for role, column in roles.columns.items() if column not in images.columns}
        cells["caption"] = _captions(values, roles)
        options = _options(values, roles)
        found = asked(
            cells, options, self._numbering,
            has_image=bool(images.cell.paths) or self._asks_about_media(values),
            prompt=caption_prompt(self._settings), bare=self._bare,
        )  # fmt: skip
        paths = images.cell.paths
        asked_about = str([found.question, found.answer, cells.get("history")]) if paths else ""
        turns = column_turns(cells, found.question, found.answer, numbered_images(paths, asked_about) if paths else {})
        media = joined_media(turns)
        rest = {name: json_value(values[name]) for name in self._left(names, images.columns, found.roles)}
        carried, carried_names = read_carried(rest, turns, media, {})
        meta = {name: value for name, value in rest.items() if name not in carried_names}
        known = {*roles.options, roles.columns.get("options")} if options is not None else set()
        unclaimed = tuple(name for name, value in meta.items() if not is_empty(value) and name not in known)
        for role, value in found.kept.items():
            if role in roles.columns:
                meta[roles.columns[role]] = json_value(value)
        if "options" in found.meta and meta.get("options", found.meta["options"]) != found.meta["options"]:
            meta["original_options"] = meta["options"]
        meta = {**json_value(images.kept), **meta, **found.meta, **carried}
        image = tuple(placed(media.get(IMAGE_MARKER, ()), list(paths)))
        source = str(cells.get("source") or self._source)
        split = str(cells.get("split") or self._settings.split)
        own = values[roles.columns["id"]] if "id" in roles.columns else None
        derived = is_empty(own)
        if not derived and not isinstance(own, str):
            meta.setdefault(roles.columns["id"], json_value(own))  # keeps its type
        return Sample(
            id=full_id(_digest(values, images.cell.embedded) if derived else str(own), source, split),
            image=image,
            conversations=tuple(read.turn for read in turns),
            answers=found.answers,
            source=source,
            split=split,
            meta=meta,
            form=_DERIVED_ID if derived else _OWN_ID,
            embedded=images.cell.embedded,
            unclaimed=unclaimed,
            notes=(*found.notes, *(images.notes if paths or not image else ())),
        )

    def _asks_about_media(self, values: Mapping[str, Any]) -> bool:
        """Whether a caption is one of a video or sound: the recipe must say what to ask, as this is no image."""
        media = (name for name, cell in values.items() if plain_name(name) in _MEDIA and not is_empty(cell))
        return self._settings.caption_prompt is not None and any(media)

    def _images_of(self, values: Mapping[str, Any], where: str) -> RowImages:
        named = self._settings.columns.get("image")
        if named == "none" and "none" not in values:
            return RowImages()
        if named is None:
            return self._images.of_row(values, where)
        return named_images(values, _listed(named), where)

    def _roles(self, names: tuple[str, ...]) -> Roles:
        if names not in self._roles_of:
            location = self._settings.location
            try:
                found = find_roles(names, self._settings.columns, where=location, bare=self._bare)
            except UserError as error:
                if not self._begun:
                    needs_other_rows()  # the first row of the table?
                    raise
                raise ValueError(str(error).removeprefix(f"{location}: ")) from None
            if len(self._roles_of) == _KEY_SETS:
                self._roles_of = {}
            self._roles_of[names] = found
            self._begun = True
        return self._roles_of[names]

    def _left(self, names: tuple[str, ...], images: frozenset[str], used: frozenset[str]) -> list[str]:
        """The columns that neither hold images nor have one of the roles that were used."""
        key = (names, images, used)
        if key not in self._left_of:
            claimed = images | self._roles(names).names({"id", "split", "source", "system", "history", *used})
            if len(self._left_of) == _KEY_SETS:
                self._left_of.clear()
            self._left_of[key] = [name for name in names if name not in claimed]
        return self._left_of[key]

    def _numbers(self) -> Numbering:
        """How numbers name options, which takes reading the table until enough rows show it."""
        if self._settings.answer_base is not None:
            return Numbering(self._settings.answer_base, proven=True)
        needs_other_rows()
        named = [name for roles in self._roles_of.values() for name in roles.names(("answer", "choice"))]
        is_index = bool(named) and all(_IS_INDEX.search(plain_name(name)) for name in named)
        return numbering(self._choices(), is_index=is_index)

    def _choices(self) -> Iterator[tuple[Options, Any]]:
        """Options and answers of all rows that have both."""
        for row in self._read():
            if isinstance(row, BadRow) or not isinstance(row.value, dict):
                continue
            try:
                roles = self._roles(tuple(row.value))
                options = _options(row.value, roles)
            except ValueError:
                continue
            cells = (
                row.value[roles.columns[role]] for role in ("answer", "choice", "answers") if role in roles.columns
            )
            answer = next((cell for cell in cells if not is_empty(cell)), None)
            if options is not None and answer is not None:
                yield options, answer


def find_roles(names: Iterable[str], wanted: Mapping[str, str | list[str]], *, where: str, bare: bool = False) -> Roles:
    """The roles that a table with these columns has a column for; the image's is found by content.

    Raises:
        UserError: a named role or column does not exist, or there is neither a question nor an answer.
    """
    names = list(names)
    unknown = [role for role in wanted if role not in COLUMN_NAMES]
    if unknown:
        raise UserError(f"columns: unknown role {unknown[0]!r}; roles are {', '.join(COLUMN_NAMES)}")
    given = {role: column for role, column in wanted.items() if column != "none" or "none" in names}
    absent = [column for columns in given.values() for column in _listed(columns) if column not in names]
    if absent:
        raise UserError(f"{where}: has no column {absent[0]!r}; its columns are {', '.join(names)}")
    by_plain = {plain_name(name): name for name in reversed(names)}
    found = {
        role: next(by_plain[option] for option in options if option in by_plain)
        for role, options in _BY_PLAIN_NAME.items()
        if role not in wanted and role != "image" and any(option in by_plain for option in options)
    }
    found.update({role: column for role, column in given.items() if isinstance(column, str)})
    options = {} if "options" in {*found, *wanted} else option_columns(names)
    _settle(found, by_plain, wanted, has_options=bool(options) or "options" in found)
    numbered = {name: int(hit[1]) for name in names if (hit := _CAPTION_NUMBER.fullmatch(name.strip()))}
    captions = sorted(numbered, key=numbered.__getitem__) if "caption" in found or "question" not in found else []
    if not bare and not captions and not found.keys() & _ASKS:
        raise UserError(
            f"{where}: no column with answers, captions or questions among {', '.join(names)};"
            " name it in the recipe, e.g. columns: {answer: <column>}, or with --columns answer=<column>"
        )
    return Roles(found, tuple(captions), options)


def _settle(
    found: dict[str, str], by_plain: Mapping[str, str], wanted: Mapping[str, Any], *, has_options: bool
) -> None:
    """Decide the roles of columns whose meaning depends on what else there is, where the recipe does not."""
    answered = has_options or not {"answer", "answers", "chosen"}.isdisjoint(found)
    asks = answered or not {"questionid", "qid"}.isdisjoint(by_plain)
    if "text" in by_plain and asks and "question" not in {*found, *wanted}:
        found["question"] = by_plain["text"]
    if "completions" in by_plain and found.get("answers") == by_plain.get("labels"):
        found.pop("answers", None)  # they judge the completions
    if "question" not in found:
        return
    if "caption" not in wanted and (answered or found.get("caption") == found["question"]):
        found.pop("caption", None)
    if not answered and "answer" not in wanted and plain_name(found.get("label", "")) == "label":
        found["answer"] = found["label"]
    if "input" not in wanted and plain_name(found["question"]) not in _INSTRUCTIONS:
        found.pop("input", None)


def _with_pairs(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row; one with no question but a column of pairs of question and answer has these as its question."""
    if any(plain_name(name) in _BY_PLAIN_NAME["question"] for name in values):
        return values
    turns = {name: found for name, cell in values.items() if (found := paired_turns(cell))}
    for name in turns:
        return {**{other: value for other, value in values.items() if other != name}, "question": turns[name]}
    return values


def _listed(columns: str | Sequence[str]) -> Sequence[str]:
    return [columns] if isinstance(columns, str) else columns


def _captions(values: Mapping[str, Any], roles: Roles) -> Any:
    """The caption cell, and those of numbered columns as a list; ``captions`` may be a list written as text."""
    column = roles.columns.get("caption")
    cell = values[column] if column is not None else None
    if column is not None and plain_name(column) in _SEVERAL and isinstance(cell, str) and cell.startswith("["):
        listed = list_literal(cell)
        cell = listed if listed and all(isinstance(item, str) for item in listed) else cell
    numbered = [values[name] for name in roles.captions if not is_empty(values[name])]
    if not numbered:
        return cell
    return [*([] if is_empty(cell) else cell if isinstance(cell, list) else [cell]), *numbered]


def _options(values: Mapping[str, Any], roles: Roles) -> Options | None:
    if "question" not in roles.columns:
        return None
    if roles.options:
        return options_of_columns(values, roles.options)
    column = roles.columns.get("options")
    if column is not None and column == roles.columns["question"]:
        return options_in(values[column])
    return read_options(values[column]) if column is not None else None


def source_name(settings: SourceSettings) -> str:
    """The dataset's name: the recipe's, else the file's or folder's, or the constant beginning of a pattern."""
    if settings.source is not None:
        return settings.source
    return re.split(r"[{*?\[]", Path(settings.location).stem)[0].rstrip("-_.") or Path(settings.location).parent.name


def _digest(values: Mapping[str, Any], embedded: Mapping[str, bytes]) -> str:
    """Stable digest of a row without an id; images count by their content's digest."""
    if not embedded:
        return digest_of(values, json_value)[:16]
    digests = {sha256_bytes(data) for data in embedded.values()}
    plain = {name: value for name, value in values.items() if not _holds_bytes(value)}
    return digest_of([sorted(digests), plain], json_value)[:16]


def _holds_bytes(value: Any, *, in_list: bool = False) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes)
    if isinstance(value, list):
        return not in_list and any(_holds_bytes(item, in_list=True) for item in value)
    return isinstance(value, bytes) or (isinstance(value, str) and is_encoded(value))
