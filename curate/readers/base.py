"""What every published annotation layout needs: rows one by one, their fields checked, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from curate.readers.json import Value
from curate.sample import BadRow, Form, Sample, Turn, full_id, majority
from curate.settings import SourceSettings
from winnow.files import digest_of

_SPLIT = re.compile(r"(?<![a-z])(train|val|test-?dev|test)(?:idation)?(?![a-z])")
OPTION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def samples(
    rows: Iterable[Value | BadRow], make: Callable[[Mapping[str, Any], Value], Sample | None], first: int = 0
) -> Iterator[Sample | BadRow]:
    """Each row through ``make(object, where it stood)``.

    A row that is no object, or of which ``make`` raises ValueError, becomes a ``BadRow``; one for
    which it returns None is of another split. Positions count from ``first``.
    """
    for position, row in enumerate(rows, start=first):
        if isinstance(row, BadRow):
            yield BadRow(row.where, row.reason, position)
        elif not isinstance(row.value, dict):
            yield BadRow(row.where, "not a JSON object", position)
        else:
            try:
                made = make(row.value, row)
            except ValueError as error:
                yield BadRow(row.where, str(error), position)
            else:
                if made is not None:
                    yield made


def text(row: Mapping[str, Any], key: str) -> str:
    """A text that is not blank.

    Raises:
        ValueError: there is none.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"no text {key!r}")
    return value


def own_id(row: Mapping[str, Any], key: str) -> str | int:
    """An id, a text or a whole number.

    Raises:
        ValueError: there is none.
    """
    value = row.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise ValueError(f"no id {key!r}")
    return value


def references(value: Any) -> tuple[str, ...]:
    """Every vote as text: one text or number, a list of these, or a list of ``{"answer": …}``; none for null.

    Raises:
        ValueError: something else.
    """
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    found = [item.get("answer") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in found):
        raise ValueError("an answer is neither a text nor a number")
    return tuple(str(one) for one in found)


def lettered(choices: Any) -> list[str]:
    """Options as lines ``A. first``, ``B. second`` …

    Raises:
        ValueError: no list of texts, or more than 26.
    """
    if not isinstance(choices, list) or not choices or len(choices) > len(OPTION_LETTERS):
        raise ValueError("'choices' must be a list of 1 to 26 texts")
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError("'choices' must be texts")
    return [f"{letter}. {choice}" for letter, choice in zip(OPTION_LETTERS, choices, strict=False)]


def split_in(*names: str) -> str:
    """``train``, ``val``, ``test`` or ``testdev`` as the first of the names spells it; '' if none does."""
    for name in names:
        if found := _SPLIT.search(name.lower()):
            return found[1]
    return ""


def sample(
    row: Mapping[str, Any],
    *,
    question: str,
    answers: tuple[str, ...],
    own: str | int | None,
    image: str | tuple[str, ...],
    settings: SourceSettings,
    source: str,
    split: str,
    held: Iterable[str],
    extra: Mapping[str, Any] | None = None,
) -> Sample:
    """A row as a sample; without answers it has no assistant turn.

    Args:
        own: the row's id; None makes one from its content.
        source, split: used where the recipe names none.
        held: keys of ``row`` whose value the sample's other fields hold to the letter. All others
            go to ``meta``.
        extra: more for ``meta``; the row's own keys win.
    """
    source = source if settings.source is None else settings.source
    split = settings.split or split
    held = set(held)
    turns = (Turn("user", question), Turn("assistant", majority(answers))) if answers else (Turn("user", question),)
    return Sample(
        id=full_id(digest_of(dict(row))[:16] if own is None else str(own), source, split),
        image=(image,) if isinstance(image, str) else image,
        conversations=turns,
        answers=answers,
        source=source,
        split=split,
        meta={**(extra or {}), **{key: value for key, value in row.items() if key not in held}},
        form=Form(derived_id=own is None),
    )
