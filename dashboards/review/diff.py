"""An answer beside the reference that it is most like, and what differs between the two, word by word."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mark = Literal["=", "-", "+"]
_MOST_WORDS = 1500  # of each text that are compared
_LONGEST = 20_000  # characters of each text that are read
_LONGEST_LIKENESS = 2_000  # characters by which the nearest reference is found
_MOST_REFERENCES = 50


class Segment(NamedTuple):
    """Words that both texts have (``=``), only the reference (``-``), or only the answer (``+``)."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Diff:
    """The reference is the text of all ``=`` and ``-``, the answer that of all ``=`` and ``+``.

    Attributes:
        cut: the texts are so long that only their beginnings were compared.
    """

    segments: tuple[Segment, ...]
    cut: bool = False


def nearest_reference(answer: str, references: Sequence[str]) -> str:
    """The reference that shares most pairs of letters with the answer (Dice's coefficient), '' for none.

    Case, punctuation, width of letters and blanks make no difference; of equal ones the first is taken.
    """
    distinct = list(dict.fromkeys(references))[:_MOST_REFERENCES]
    if len(distinct) < 2:
        return distinct[0] if distinct else ""
    pairs = _pairs(answer)
    return max(distinct, key=lambda reference: _likeness(pairs, _pairs(reference)))


def _pairs(text: str) -> Counter[str]:
    plain = unicodedata.normalize("NFKC", text[:_LONGEST_LIKENESS]).casefold()
    letters = "".join(letter if letter.isalnum() or _is_mark(letter) else " " for letter in plain)
    padded = f" {' '.join(letters.split())} "
    return Counter(padded[at : at + 2] for at in range(len(padded) - 1))


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    return 2 * (one & other).total() / (one.total() + other.total())


def word_diff(answer: str, reference: str) -> Diff:
    """What to take away from the reference and what to add, to get the answer; as much as possible stays.

    A Chinese or Japanese character is a word, as is a mark of punctuation.
    """
    ours, theirs = list(words(answer[:_LONGEST])), list(words(reference[:_LONGEST]))
    start = _shared(ours, theirs)
    end = _shared(ours[start:][::-1], theirs[start:][::-1])
    middle = slice(start, len(ours) - end), slice(start, len(theirs) - end)
    if max(len(answer), len(reference)) > _LONGEST:
        end, middle = 0, (slice(start, None), slice(start, None))
    added, removed = ours[middle[0]], theirs[middle[1]]
    marked = [Segment("=", word) for word in ours[:start]]
    marked += _compared(added[:_MOST_WORDS], removed[:_MOST_WORDS])
    rest = ("".join(removed[_MOST_WORDS:]) + reference[_LONGEST:], "".join(added[_MOST_WORDS:]) + answer[_LONGEST:])
    marked += [Segment("-", rest[0]), Segment("+", rest[1])]
    marked += [Segment("=", word) for word in ours[len(ours) - end :]]
    return Diff(tuple(_joined(marked)), cut=any(rest))


def _shared(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many words both begin with."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return number
    return min(len(ours), len(theirs))


def _compared(ours: list[str], theirs: list[str]) -> list[Segment]:
    """Both texts along a longest common subsequence of their words."""
    lengths = common_lengths(ours, theirs)
    found: list[Segment] = []
    row, column = len(ours), len(theirs)
    while row or column:
        if row and column and ours[row - 1] == theirs[column - 1]:
            row, column = row - 1, column - 1
            found.append(Segment("=", ours[row]))
        elif row and (not column or lengths[row - 1, column] >= lengths[row, column - 1]):
            row -= 1
            found.append(Segment("+", ours[row]))
        else:
            column -= 1
            found.append(Segment("-", theirs[column]))
    return found[::-1]


def common_lengths(ours: Sequence[str], theirs: Sequence[str]) -> NDArray[np.int16]:
    """(len(ours) + 1, len(theirs) + 1) length of the longest common subsequence of every two beginnings."""
    codes: dict[str, int] = {}
    columns = np.array([codes.setdefault(word, len(codes)) for word in theirs], dtype=np.int32)
    lengths = np.zeros((len(ours) + 1, len(theirs) + 1), dtype=np.int16)
    for number, word in enumerate(ours, start=1):
        above = lengths[number - 1]
        longer = np.where(columns == codes.get(word, -1), above[:-1] + 1, above[1:])
        np.maximum.accumulate(longer, out=lengths[number, 1:])
    return lengths


def _joined(marked: Sequence[Segment]) -> Iterator[Segment]:
    """Neighbours of one mark as one segment; between two changes what goes comes before what comes.

    Blanks alone do not interrupt a change.
    """
    kept: dict[Mark, list[str]] = {"-": [], "+": []}
    same: list[str] = []

    def change() -> Iterator[Segment]:
        for mark, parts in kept.items():
            if text := "".join(parts):
                yield Segment(mark, text)
            parts.clear()

    for mark, text in marked:
        if not text:
            continue
        if mark == "=":
            same.append(text)
            continue
        if same:
            between = "".join(same)
            same.clear()
            if between.isspace() and (kept["-"] and kept["+"]):
                for parts in kept.values():
                    parts.append(between)
            else:
                yield from change()
                yield Segment("=", between)
        kept[mark].append(text)
    yield from change()
    if same:
        yield Segment("=", "".join(same))


# Scripts that are written without blanks between words: Chinese, Japanese; Thai, Lao, Burmese, Khmer.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_JOINERS = frozenset("\u200c\u200d\u2060\ufe0e\ufe0f")  # also what makes one emoji of several
_INSIDE = {"'": str.isalpha, "’": str.isalpha, ".": str.isdecimal, ",": str.isdecimal}


@functools.lru_cache(maxsize=4096)
def _is_mark(letter: str) -> bool:
    """Whether it belongs to the letter before it: an accent, a vowel sign, a joiner, a skin colour."""
    return letter in _JOINERS or unicodedata.category(letter)[0] == "M" or "\U0001f3fb" <= letter <= "\U0001f3ff"


@functools.lru_cache(maxsize=4096)
def _kind(letter: str) -> Literal["blank", "word", "alone"]:
    if letter.isspace():
        return "blank"
    return "word" if letter.isalnum() and not _UNSPACED.match(letter) else "alone"


def words(text: str) -> Iterator[str]:
    """The text in pieces that are never divided: words, numbers, runs of blanks, single other characters.

    A character stays together with its accents and vowel signs, ``don't`` and ``3.5`` stay whole.
    """
    start = 0
    while start < len(text):
        kind, end = _kind(text[start]), start + 1
        while end < len(text):
            letter = text[end]
            inside = _INSIDE.get(letter)
            if _is_mark(letter) and kind != "blank":
                end += 1 + (letter == "\u200d" and end + 1 < len(text))
            elif (kind != "alone" and _kind(letter) == kind) or (
                kind == "word" and inside and inside(text[end - 1]) and inside(text[end + 1 : end + 2])
            ):
                end += 1
            else:
                break
        yield text[start:end]
        start = end
