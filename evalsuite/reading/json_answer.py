"""The value under a key of the JSON object in a reply."""

from __future__ import annotations

import json
import re
from typing import Any

_READ = 20_000  # characters of an object
_OBJECTS = 20  # that are tried, from the last


def read_json(text: str, key: str) -> str | None:
    """The value as text (texts as they are, other values as JSON); None if no object has the key.

    Objects may stand in prose or in a fence; the last one with the key decides. Of an object that is damaged or
    cut off, the value is read if it is complete.
    """
    if "“" in text:
        text = text.translate({ord(mark): '"' for mark in "“”"}) if '"' not in text else text
    decoder = json.JSONDecoder()
    places = [match.start() for match in re.finditer(r"\{", text)]
    for place in reversed(places[-_OBJECTS:]):
        try:
            found, _ = decoder.raw_decode(text[place : place + _READ])
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and key in found:
            return _text(found[key])
    damaged = re.compile(rf"[\"']{re.escape(key)}[\"']\s*:\s*(?:\"((?:[^\"\\\n]|\\.)*)\"|'([^'\n]*)'|([^\s,}}\"']+))")
    last = None
    for last in damaged.finditer(text):  # noqa: B007
        pass
    return next((group.strip() for group in last.groups() if group is not None), None) if last else None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
