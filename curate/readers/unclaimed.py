"""Which fields without a role a user should hear of, and what to write in the recipe to use them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from curate.readers.facts import SourceFacts, UnclaimedField, shortened
from curate.readers.tables.columns import COLUMN_NAMES
from winnow.text import visible

# Fields that usually change what a row means. Of the others, those that most rows fill are told.
_USUAL = re.compile(
    r"(rejected|chosen|image|img|video|audio|option|choice|bbox|box(es)?\b|conversation|message).*"
    r"|input|history|system|objects?|label|tools?|functions|loss|context|hint|[a-j]"
)
_READ_BY_COLUMNS = frozenset({"table", "hub", "webdataset", "image_folder"})
_DECISIVE = 0.5  # share of the rows
# Roles that a column's name alone suggests.
_ROLES = frozenset(
    {
        "image",
        "question",
        "input",
        "answer",
        "answers",
        "options",
        "context",
        "system",
        "history",
        "rejected",
        "caption",
    }
)
# Names beside those of ``COLUMN_NAMES`` that a role may go by.
_MORE_NAMES = {
    "input": "question", "problem": "question", "user": "question", "human": "question", "text_input": "question",
    "label": "answer", "chosen": "answer", "solution": "answer", "ground_truth": "answer", "gt": "answer",
    "completion": "answer", "text_output": "answer", "alt": "caption", "alt_text": "caption",
}  # fmt: skip


@dataclass(frozen=True)
class Unused:
    """A field that nothing uses.

    Attributes:
        remedy: what to write in the recipe to use it.
    """

    field: UnclaimedField
    remedy: str


def unused_fields(facts: SourceFacts, used: Collection[str] = ()) -> list[Unused]:
    """Fields without a role that usually matter, then those that more than half of the rows fill.

    Args:
        used: columns of the rules, such as ``meta.score`` or ``meta.scores.nsfw``; their fields are left out.
    """
    names = [f"{column}." for column in used]
    fields = [field for field in facts.fields if not any(each.startswith(f"{_column(field)}.") for each in names)]
    usual = [field for field in fields if _USUAL.fullmatch(field.name.lower())]
    filled = [field for field in fields if field not in usual and field.rows > _DECISIVE * facts.rows]
    return [Unused(field, _remedy(field, facts)) for field in [*usual, *filled]]


def warnings(facts: SourceFacts) -> list[str]:
    """One line each: what was assumed about the source or its rows, and images that nothing reads."""
    source = facts.location if facts.location.startswith("hub:") else Path(facts.location).name or facts.location
    notes = (f"{each.note} ({each.rows:,} of {facts.rows:,} rows, such as {each.example})" for each in facts.notes)
    remarks = (remark.removeprefix(f"{facts.location}: ").removeprefix(f"{source}: ") for remark in facts.remarks)
    return [visible(f"{source}: {line}") for line in (*remarks, *_without_images(facts), *notes)]


def _without_images(facts: SourceFacts) -> list[str]:
    """Says of rows without any image which column may hold them."""
    if facts.with_image or not facts.rows:
        return []
    paths = [field for field in facts.fields if field.looks_like_images > _DECISIVE * facts.rows]
    if paths:
        names = " and ".join(f"`{shortened(field.name)}`" for field in paths[:3])
        looks = f"although {names} looks like paths of images ({paths[0].example}); {_remedy(paths[0], facts)}"
        return [f"no row has an image, {looks}"]
    if facts.layout in _READ_BY_COLUMNS:
        return ["no row has an image; if a column holds images, write columns: {image: <column>}"]
    return []


def _remedy(field: UnclaimedField, facts: SourceFacts) -> str:
    role = _role(field) if facts.layout in _READ_BY_COLUMNS else None
    if role is not None:
        return f"columns: {{{role}: {_yaml(shortened(field.name))}}}"
    return f"not trained; rules may use {_column(field)}"


def _column(field: UnclaimedField) -> str:
    name = shortened(field.name)
    return f"meta.{name if name.isidentifier() else _quoted(name)}"


def _role(field: UnclaimedField) -> str | None:
    """The role that a field may have been meant for."""
    if field.looks_like_images > _DECISIVE * field.rows:
        return "image"
    plain = field.name.lower().strip()
    known = (role for role, names in COLUMN_NAMES.items() if role in _ROLES and plain in names)
    return _MORE_NAMES.get(plain) or next(known, None)


def _yaml(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f"'{name.replace(chr(39), chr(39) * 2)}'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
