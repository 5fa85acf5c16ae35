"""Multiple choice: the options of a row however they are spelled, how a question shows them, which one an answer names.

Options are a list (of texts, numbers or ``{"label": …, "text": …}``), ``{"A": "cat", "B": "dog"}``,
``{"text": […], "label": […]}``, any of these written as text, lines ``A. cat``, ``cat|dog``, or a column for each
(``A``, ``B`` …, ``option_a``, ``choice1``). An answer is a letter (``B``, ``(b)``, ``B.``, ``B. dog``, ``A, C``), a
number, the name of an option's column, or an option's text. Whether numbers count from 0 or 1, or are themselves what
an option says, only many rows can show: ``numbering``. A question may list its options itself: ``options_in``.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curate.readers.fields import OPTION_LETTERS
from curate.readers.tables.cells import is_empty, literal

_COLUMN = re.compile(r"(|options?|choices?|opt|op|candidates?|endings?|alternatives?)[\s_.-]*([a-z]|\d{1,2})", re.I)
_OWN_LETTER = re.compile(r"\s*[(\[]?([A-Za-z0-9]{1,2})[)\].:、]\s*(.*)", re.DOTALL)
_IN_LINE = re.compile(r"(?:^|[\s,;|])[(\[]?([A-Z])[)\].:]\s*")
_LETTER = re.compile(r"\W*(?:(?:the\s+)?(?:correct\s+)?(?:option|answer|choice)(?:\s+is)?\W*)?([A-Za-z])\W*", re.I)
_SEVERAL = re.compile(r"[A-Z]{2,}|\W*[A-Z]\W*(?:(?:,|;|/|&|\band\b)\W*[A-Z]\W*)+")
_TEXTS = ("text", "texts", "value", "option", "content", "choice", "answer")
_LABELS = ("label", "labels", "key", "letter", "id")
_NUMBERS = (int, float)
_ENOUGH = 1000
_HIDDEN = -1


@dataclass(frozen=True)
class Options:
    """The options of one row.

    Attributes:
        texts: what they say.
        labels: the row's own names of them, as many; empty if it has none.
        columns: the columns that hold one each, if there are such.
        are_numbers: the row has them as numbers, not as texts.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    are_numbers: bool = False

    @functools.cached_property
    def letters(self) -> tuple[str, ...]:
        """Their capital letters: the row's own, else A, B, C …"""
        own = tuple(label.upper() for label in self.labels)
        has_own = own and all(len(label) == 1 and label in OPTION_LETTERS for label in own)
        return own if has_own else tuple(OPTION_LETTERS[: len(self.texts)])

    @property
    def lines(self) -> list[str]:
        """A line ``A. text`` for each."""
        return [f"{letter}. {text}" for letter, text in zip(self.letters, self.texts, strict=True)]

    def shown_in(self, question: str) -> str:
        """The question with the options as lines, unless it shows all of them with their letters already."""
        flat = _plain(question)
        there = all(
            _plain(text) in flat and any(_plain(f"{letter}{mark}{text}") in flat for mark in (". ", ") ", ": ", "."))
            for letter, text in zip(self.letters, self.texts, strict=True)
        )
        return question if there else "\n".join([question, *self.lines])


@dataclass(frozen=True)
class Numbering:
    """How the numbers of a column name options.

    Attributes:
        base: the number of the first option, 0 or 1; None if a number is what the option says.
        proven: the rows show it; else it is assumed.
    """

    base: int | None = 0
    proven: bool = False


def option_columns(names: Iterable[str]) -> dict[str, str]:
    """Columns that hold an option each → its label; empty unless the first two of a sequence are there.

    Known are ``A``, ``B`` …, ``option_a`` …, ``opa`` …, ``choice1`` …, ``ending0`` …, in any case.
    """
    families: dict[str, dict[str, str]] = {}
    for name in names:
        if found := _COLUMN.fullmatch(name.strip()):
            prefix, label = found[1].lower().removesuffix("s"), found[2].upper()
            if prefix or label.isalpha():
                kind = f"{prefix} {'letters' if label.isalpha() else 'numbers'}"
                families.setdefault(kind, {}).setdefault(label.lstrip("0") or "0", name)
    for family in families.values():
        for sequence in (OPTION_LETTERS, map(str, range(26)), map(str, range(1, 27))):
            run = list(itertools.takewhile(family.__contains__, sequence))
            if len(run) > 1:
                return {family[label]: label for label in run}
    return {}


def options_of_columns(row: Mapping[str, Any], columns: Mapping[str, str]) -> Options | None:
    """The options of a row that has one in each of ``columns``; empty cells are none.

    Raises:
        ValueError: a cell is neither a text nor a number.
    """
    filled = [name for name in columns if not is_empty(row.get(name))]
    if not filled:
        return None
    labels = tuple(columns[name] for name in filled)
    texts = tuple(_text(row[name]) for name in filled)
    return Options(texts, labels if all(label.isalpha() for label in labels) else (), tuple(filled))


def options_in(question: Any) -> Options | None:
    """The options that a question lists itself, as its last lines ``A. …`` or as ``Options: A: …, B: …``; None without.

    What follows the line of the last option belongs to none.
    """
    if not isinstance(question, str):
        return None
    run: list[re.Match[str]] = []
    for hit in _IN_LINE.finditer(question):
        if hit[1] == "A":
            run = [hit]
        elif run and hit[1] == OPTION_LETTERS[len(run)] and hit[0].strip()[-1] == run[0][0].strip()[-1]:
            run.append(hit)
    if len(run) < 2:
        return None
    ends = [hit.start() for hit in run[1:]] + [len(question)]
    listed = [question[hit.end() : end].strip() for hit, end in zip(run, ends, strict=True)]
    listed[-1] = listed[-1].split("\n", 1)[0].strip()
    return Options(tuple(text.removesuffix(",") for text in listed), tuple(hit[1] for hit in run))


def read_options(value: Any) -> Options | None:
    """The options in one cell; None for an empty one.

    Raises:
        ValueError: the cell holds something else, or more than 26.
    """
    if isinstance(value, str):
        value = _parsed(value.strip())
    if hasattr(value, "tolist"):  # a numpy array
        value = value.tolist()
    if is_empty(value):
        return None
    if isinstance(value, dict):
        pairs = _of_object(value)
    elif isinstance(value, list | tuple):
        pairs = [("", item.strip()) if type(item) is str else _of_item(item) for item in value if not is_empty(item)]
    else:
        raise ValueError("the options are neither a list nor an object")
    if not pairs:
        return None
    if len(pairs) > len(OPTION_LETTERS):
        raise ValueError(f"more than {len(OPTION_LETTERS)} options")
    texts, labels = tuple(text for _, text in pairs), tuple(label for label, _ in pairs)
    if isinstance(value, list | tuple) and all(isinstance(item, _NUMBERS) for item in value):
        return Options(texts, are_numbers=True)
    return Options(texts, labels) if all(labels) and len(set(labels)) == len(labels) else _without_letters(texts)


def _parsed(text: str) -> Any:
    """Options that are written as one text.

    Raises:
        ValueError: it spells none.
    """
    if not text:
        return None
    if text[0] in "[{" or text.startswith("array("):
        found = literal(text)
        if isinstance(found, list | dict):
            return found
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return lines
    starts = list(_IN_LINE.finditer(text))
    if len(starts) > 1 and starts[0].start() == 0 and [hit[1] for hit in starts] == list(OPTION_LETTERS[: len(starts)]):
        ends = [hit.start() for hit in starts[1:]] + [len(text)]
        return {hit[1]: text[hit.end() : end].strip(" ,;|") for hit, end in zip(starts, ends, strict=True)}
    mark = next((mark for mark in "|;" if mark in text), None)
    if mark is not None:
        return [part for part in text.split(mark) if part.strip()]
    raise ValueError(f"the options are not a list: {text[:60]!r}; `columns: {{options: none}}` leaves them out")


def _of_object(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    texts = next((value[key] for key in _TEXTS if isinstance(value.get(key), list)), None)
    if texts is not None:
        labels = next((value[key] for key in _LABELS if isinstance(value.get(key), list)), [""] * len(texts))
        if len(labels) != len(texts):
            raise ValueError("as many labels as options are needed")
        return [(str(label), _text(text)) for label, text in zip(labels, texts, strict=True) if not is_empty(text)]
    pairs = [(str(key), _text(item)) for key, item in value.items() if not is_empty(item)]
    return sorted(pairs) if all(len(label) == 1 for label, _ in pairs) else pairs


def _of_item(item: Any) -> tuple[str, str]:
    if not isinstance(item, dict):
        return "", _text(item)
    text = next((item[key] for key in _TEXTS if key in item), None)
    label = next((item[key] for key in _LABELS if key in item), "")
    if text is None and len(item) == 1:
        label, text = next(iter(item.items()))
    return str(label), _text(text)


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise ValueError("an option is neither a text nor a number")
    return value.strip() if isinstance(value, str) else str(value)


def _without_letters(texts: tuple[str, ...]) -> Options:
    """Texts that begin ``A.``, ``(B)`` … in order, without these."""
    if not _OWN_LETTER.fullmatch(texts[0]):
        return Options(texts)
    found = [_OWN_LETTER.fullmatch(text) for text in texts]
    letters = [hit[1].upper() for hit in found if hit and hit[2].strip()]
    numbers = [str(number) for number in range(1, len(texts) + 1)]
    if len(texts) > 1 and letters in (list(OPTION_LETTERS[: len(texts)]), numbers):
        return Options(tuple(hit[2].strip() for hit in found if hit), tuple(letters))
    return Options(texts)


def numbering(rows: Iterable[tuple[Options, Any]], *, is_index: bool = False) -> Numbering:
    """How numbers among the answers are to be read, as the rows show it.

    A 0 anywhere: they count from 0. A number equal to the number of options anywhere: from 1. If a file has both, what
    is more frequent. Stops after 1,000 numbers if they have shown it.

    Args:
        rows: options and answer of each.
        is_index: the column's name says that numbers are positions; else they may be what an option says.
    """
    zeros = tops = positions = sayings = numbers = 0
    for options, answer in rows:
        number = as_number(answer)
        if number is None or str(answer) in options.labels:
            continue
        numbers += 1
        in_range = 0 <= number <= len(options.texts)
        said = _says(options, answer) is not None
        either = said and (options.are_numbers or isinstance(answer, str))
        zeros, tops = zeros + (number == 0), tops + (number == len(options.texts))
        positions, sayings = positions + (in_range and not either), sayings + (said and not in_range)
        if numbers >= _ENOUGH and (zeros != tops or positions != sayings):
            break
    if numbers and not is_index and sayings >= positions:
        return Numbering(None, proven=True)
    return Numbering(int(tops > zeros), proven=zeros != tops)


def as_number(value: Any) -> int | None:
    """A whole number, also as a float or as text; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*-?\d{1,3}(\.0)?\s*", value) is not None and "." not in value else None
    return value if isinstance(value, int) else None


def named_option(options: Options, answer: Any, numbers: Numbering) -> str:
    """What to train for an answer: the letter of the option that it names, or its text if it is one; '' if hidden (-1).

    Several options, as a list or as ``A, C``, are all named.

    Raises:
        ValueError: it names none.
    """
    if isinstance(answer, list | tuple):
        named = [named_option(options, item, numbers) for item in answer if not is_empty(item)]
        return ", ".join(dict.fromkeys(named))
    if isinstance(answer, bool):
        words = ("true", "yes") if answer else ("false", "no")
        found = next((text for text in options.texts if text.casefold() in words), "")
    elif (number := as_number(answer)) is not None:
        found = _numbered(options, answer, number, numbers)
        if not found and number == _HIDDEN:
            return ""
    else:
        found = _spelled(options, answer.strip()) if isinstance(answer, str) else ""
    if not found:
        raise ValueError(f"the answer {str(answer)[:60]!r} names none of the options {'; '.join(options.lines)[:200]}")
    return found


def _numbered(options: Options, answer: Any, number: int, numbers: Numbering) -> str:
    if str(answer) in options.labels:
        return options.letters[options.labels.index(str(answer))]
    if numbers.base is None:
        return _says(options, answer) or ""
    position = number - numbers.base
    return options.letters[position] if 0 <= position < len(options.texts) else _says(options, answer) or ""


def _says(options: Options, answer: Any, end: str = "") -> str | None:
    """The text of the option that says the same as ``answer``, whatever letters of ``end`` they end with."""
    wanted = _plain(str(answer)).rstrip(end)
    return next((text for text in options.texts if _plain(text).rstrip(end) == wanted), None)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _spelled(options: Options, answer: str) -> str:
    letters = options.letters
    if answer in letters:
        return answer
    for names in (options.labels, options.columns):
        if answer in names:
            return letters[names.index(answer)]
    if _says(options, answer) is not None:
        return answer
    if (found := _LETTER.fullmatch(answer)) and found[1].upper() in letters:
        return found[1].upper()
    own = _OWN_LETTER.fullmatch(answer)
    if own and own[1].upper() in letters:
        letter, text = own[1].upper(), options.texts[letters.index(own[1].upper())]
        if _plain(own[2]) == _plain(text):
            return letter
        return answer if _says(options, own[2]) is None else ""  # letter and text of two options
    if _says(options, answer, ".") is not None:
        return answer
    several = re.findall("[A-Z]", answer.replace("and", "")) if _SEVERAL.fullmatch(answer) else []
    return answer if several and set(several) <= set(letters) and len(set(several)) == len(several) else ""
