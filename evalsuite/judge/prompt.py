"""The judge's prompt for one row. What a model wrote stays inside its marks, whatever it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalsuite.judge.rubric import REPLIES, Rubric
from winnow.rows.conversations import IMAGE_MARKER

_PLACE = re.compile(r"\{(\w+)\}")
_CUT = " [cut]"
# Tokens with a meaning to some model: they could end the judge's turn, or make it impossible to ask.
_TOKENS = r"<\||</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn|im_(?:start|end)|image\w*)>|\[/?INST\]"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class FilledPrompt:
    """A prompt ready to be asked.

    Attributes:
        cut: a value was longer than the rubric allows.
        defused: a reply held text that marks the end of a reply, or a special token, which was changed.
    """

    text: str
    cut: bool
    defused: bool


def fill(rubric: Rubric, values: Mapping[str, Any]) -> FilledPrompt:
    """The rubric's prompt with every place filled in, once: braces inside a value are text.

    Args:
        values: by place; a list is joined by `` | `` (references) or lettered (options).

    Raises:
        KeyError: a place has no value.
    """
    cut = defused = False
    # A reply must not close its own block, nor begin the next part of the prompt.
    marks = {mark for place in REPLIES for mark in rubric.marks_of(place) or ()}

    def value(place: re.Match[str]) -> str:
        nonlocal cut, defused
        name = place[1]
        text = _as_text(name, values[name], rubric)
        if len(text) > rubric.longest:
            cut, text = True, text[: rubric.longest] + _CUT
        if rubric.one_line:
            text = " ".join(text.split()).replace("|", "/") if name in REPLIES else " ".join(text.split())
        safe = _defused(text, marks)
        if name in REPLIES:
            defused |= safe != text
        return safe

    return FilledPrompt(_PLACE.sub(value, rubric.prompt), cut, defused)


def _as_text(name: str, value: Any, rubric: Rubric) -> str:
    if name == "options":
        return "\n".join(f"({letter}) {option}" for letter, option in zip(_LETTERS, value, strict=False)) or "none"
    if name == "references":
        text = " | ".join(dict.fromkeys(value))
        for old, new in rubric.replace.items():
            text = text.replace(old, new)
        return text
    return "\n".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _defused(text: str, marks: set[str]) -> str:
    """The text with a blank after the first character of every mark and every special token in it."""
    watched = "|".join([*map(re.escape, sorted({*marks, IMAGE_MARKER}, key=len, reverse=True)), _TOKENS])
    return re.sub(watched, lambda found: f"{found[0][0]} {found[0][1:]}", text, flags=re.IGNORECASE)
