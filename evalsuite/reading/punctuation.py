"""Punctuation as the VQA challenge's evaluation code removes it, and as VLMEvalKit does."""

from __future__ import annotations

import re

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
# Meant to spare decimals; as written, it removes every dot that no digit follows. At most 32 of them: the
# original passes re.UNICODE where the number of replacements belongs.
_DOT = re.compile(r"\.(?!\d)")
_DOTS = int(re.UNICODE)
_DOT_BESIDE_NO_DIGIT = re.compile(r"(?<!\d)\.(?!\d)")


def official_punctuation(text: str) -> str:
    """The VQA challenge's rule."""
    return _punctuation(text, _DOT)


def vlmevalkit_punctuation(text: str) -> str:
    """VLMEvalKit's: a dot behind a digit stays."""
    return _punctuation(text, _DOT_BESIDE_NO_DIGIT)


def _punctuation(text: str, dot: re.Pattern[str]) -> str:
    out = text
    delete_all = _DIGIT_COMMA_DIGIT.search(text) is not None
    for mark in _MARKS:
        if mark in text:
            beside_blank = mark + " " in text or " " + mark in text
            out = out.replace(mark, "" if delete_all or beside_blank else " ")
    return dot.sub("", out, count=_DOTS)
