"""Fields of a published row, checked; and the sample that they make, in which nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.rows.conversations import holds_conversation
from winnow.rows.records import Form, Sample, Turn, from_record, full_id, majority

CAPTION_QUESTION = "Describe the image."
LABEL_QUESTION = "What is shown in the image?"
OPTION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPLIT = re.compile(r"(?<![a-z])(train|val|test-?dev|test)(?:idation)?(?![a-z])")


def text(row: Mapping[str, Any], key: str) -> str:
    """A text that is not blank.

    Raises:
        ValueError: missing, blank or of another type.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"no text {key!r}")
    return value


def own_id(row: Mapping[str, Any], key: str) -> str | int:
    """An id: a text or a whole number.

    Raises:
        ValueError: missing, empty or of another type.
    """
    value = row.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise ValueError(f"no id {key!r}")
    return value


def references(value: Any) -> tuple[str, ...]:
    """Every vote as text, from a text or number, a list of these, or a list of ``{"answer": …}``; () for null.

    Raises:
        ValueError: something else.
    """
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    found = [item.get("answer") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(answer, str | int | float) and not isinstance(answer, bool) for answer in found):
        raise ValueError("an answer is neither a text nor a number")
    return tuple(str(answer) for answer in found)


def lettered(choices: Any) -> list[str]:
    """Options as lines ``A. first``, ``B. second`` …

    Raises:
        ValueError: not a list of 1 to 26 texts.
    """
    if not isinstance(choices, list) or not choices or len(choices) > len(OPTION_LETTERS):
        raise ValueError("'choices' must be a list of 1 to 26 texts")
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError("'choices' must be texts")
    return [f"{letter}. {choice}" for letter, choice in zip(OPTION_LETTERS, choices, strict=False)]


def caption_prompt(settings: SourceSettings) -> str:
    """The question that a caption is asked for with: the recipe's, or ``Describe the image.``"""
    return settings.caption_prompt or CAPTION_QUESTION


def assumed_question(question: str, what: str) -> str:
    """The note about rows that have no question of their own: ``what`` they have instead, and what they are asked."""
    change = "; `caption_prompt` (or --caption-prompt) changes it" if question != LABEL_QUESTION else ""
    return f"{what} have no question and get {question!r}{change}"


def split_in(*names: str) -> str:
    """``train``, ``val``, ``test`` or ``testdev`` as the first of the names spells it; '' if none does."""
    for name in names:
        if found := _SPLIT.search(name.lower()):
            return found[1]
    return ""


def sample(
    row: Mapping[str, Any],
    settings: SourceSettings,
    *,
    question: str,
    answers: tuple[str, ...],
    image: str,
    own: str | int | None,
    source: str,
    split: str,
    held: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> Sample:
    """A row as a sample; without answers it has no assistant turn.

    Args:
        image: its path, '' for none.
        own: the row's id; None makes one from its content.
        source, split: used where the recipe names none.
        held: keys of ``row`` and what the sample holds in their place. Keys with another value, and all other
            keys, go to ``meta``.
        extra: more for ``meta``; the row's own keys win.
        notes: what is assumed; see ``winnow.rows.records.Sample``.
    """
    source = source if settings.source is None else settings.source
    split = settings.split or split
    turns = (Turn("user", question), Turn("assistant", majority(answers))) if answers else (Turn("user", question),)
    kept = {key: value for key, value in row.items() if key not in held or held[key] != value}
    return Sample(
        id=full_id(digest_of(dict(row))[:16] if own is None else str(own), source, split),
        image=(image,) if image else (),
        conversations=turns,
        answers=answers,
        source=source,
        split=split,
        meta={**(extra or {}), **kept},
        form=Form(derived_id=own is None),
        notes=notes,
    )


def is_conversation(row: Mapping[str, Any]) -> bool:
    """Whether ``conversation`` reads a row: it holds turns, or ``query`` and ``response`` without options."""
    has_answer = {"query", "response"} <= row.keys() and {"options", "choices"}.isdisjoint(row)
    return has_answer or holds_conversation(row)


def conversation(record: Mapping[str, Any], where: str, *, source: str, split: str) -> Sample:
    """A row that holds a whole conversation, as ``winnow.rows.records.from_record`` knows them.

    Raises:
        ValueError: it does not, or a value is of the wrong type.
    """
    try:
        return from_record(record, source=source, split=split, where=where)
    except UserError as error:
        raise ValueError(str(error).removeprefix(f"{where}: ")) from None


def as_object(value: Any) -> Mapping[str, Any]:
    """``value``, or its first element, if that is an object; else empty."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, dict) else {}
