"""JSON objects that have a key twice: parsers keep the last value, and nobody sees that there was another."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

_NAME = re.compile(rb'"\s*:')


def refuse_repeated_keys(text: bytes, value: Any) -> None:
    """Look for keys that stand in one object with two different values.

    Args:
        text: JSON.
        value: what a parser made of it.

    Raises:
        ValueError: there is such a key, which is named; or the value is nested too deeply.
    """
    # Each key has a colon. Where there are more of either, in a text perhaps, the value is parsed again.
    try:
        keys = _count(value)
        if text.count(b":") > keys and len(_NAME.findall(text)) > keys:
            json.loads(text, object_pairs_hook=_object, parse_int=str)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _count(value: Any) -> int:
    """Keys of all objects in a value, or fewer: a list that begins with a text counts as one of texts."""
    found = 0
    values: Collection[Any] = ()
    if type(value) is dict:
        found, values = len(value), value.values()
    elif type(value) is list and value and type(value[0]) is not str:
        values = value
    for each in values:
        if type(each) is dict or type(each) is list:
            found += _count(each)
    return found


def _object(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in members:
        if key in found and found[key] != value:
            raise ValueError(f"an object has the key {key[:80]!r} twice, with different values")
        found[key] = value
    return found
