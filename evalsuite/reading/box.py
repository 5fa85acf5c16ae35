"""The box in a reply: ``[x1, y1, x2, y2]`` in any of the usual notations."""

from __future__ import annotations

import json
import re
from typing import Literal

from evalsuite.reading.statement import statements

Scale = Literal["relative", "thousandths", "pixels"]

_N = r"(-?\d{1,6}(?:\.\d{1,12})?)"
_SEP = r"\s*[,;\s]\s*"
_NAMED = re.compile(
    rf"[\"']?\bx_?(?:1|min|left)\b[\"']?\s*[:=]\s*{_N}[\s,]*[\"']?\by_?(?:1|min|top)\b[\"']?\s*[:=]\s*{_N}[\s,]*"
    rf"[\"']?\bx_?(?:2|max|right)\b[\"']?\s*[:=]\s*{_N}[\s,]*[\"']?\by_?(?:2|max|bottom)\b[\"']?\s*[:=]\s*{_N}",
    re.IGNORECASE,
)
_FOUR = re.compile(
    rf"[\[({{<>|]\s*{_N}{_SEP}{_N}\s*(?:[)\]>][\s,;:a-z-]{{0,40}}[(\[<])?\s*[,;\s]?\s*{_N}{_SEP}{_N}\s*(?=[\])}}<|])",
    re.IGNORECASE,
)
_BARE = re.compile(rf"\W*{_N}{_SEP}{_N}{_SEP}{_N}{_SEP}{_N}\W*")
_PALIGEMMA = re.compile(r"<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>")
_FLORENCE = re.compile(r"<loc_(\d{1,3})><loc_(\d{1,3})><loc_(\d{1,3})><loc_(\d{1,3})>")


def read_box(text: str, scale: Scale | None = None) -> str | None:
    """The box as JSON, ``[x1, y1, x2, y2]``, left top and right bottom; None if the reply gives none.

    Args:
        scale: what the model's numbers are: ``thousandths`` (0 to 1000, of width and height) become 0 to 1;
            ``relative`` and ``pixels`` stay as they are. None takes what is written. Location tokens (PaliGemma's,
            Florence's) carry their own scale and become 0 to 1.

    An explicit statement decides, the last one, else the first box.
    """
    for statement in reversed(statements(text)):
        if found := _box(statement.content, scale):
            return found
    return _box(text, scale)


def _box(text: str, scale: Scale | None) -> str | None:
    if tokens := _PALIGEMMA.search(text):
        top, left, bottom, right = (int(token) / 1024 for token in tokens.groups())
        return _written([left, top, right, bottom])
    if tokens := _FLORENCE.search(text):
        return _written([int(token) / 1000 for token in tokens.groups()])
    found = _NAMED.search(text) or _FOUR.search(text) or _BARE.fullmatch(text[:200])
    if found is None:
        return None
    numbers = [float(number) for number in found.groups()]
    return _written([number / 1000 for number in numbers] if scale == "thousandths" else numbers)


def _written(numbers: list[float]) -> str | None:
    x1, y1, x2, y2 = numbers
    if x2 < x1 or y2 < y1:
        return None
    return json.dumps([round(number, 6) for number in numbers])
