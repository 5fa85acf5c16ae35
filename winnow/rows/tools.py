"""Tools in rows: the definitions of those that may be called, and the calls in a turn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from winnow.rows.lines import parse_json


def calls_in(text: str) -> list[tuple[str, Any]]:
    """Name and arguments of each call in a turn's text.

    Raises:
        ValueError: it is not JSON of an object with ``name`` and ``arguments``, or of a list of these.
    """
    value = _strict(text)
    calls = value if isinstance(value, list) else [value]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise ValueError("a call needs JSON with `name` and `arguments`")
    return [(call["name"], call.get("arguments", {})) for call in calls]


def definitions_in(tools: str) -> list[Any]:
    """The definitions of tools in the JSON text of ``meta.tools``; [] for ''.

    Raises:
        ValueError: it is not JSON of a list.
    """
    found = _strict(tools) if tools else []
    if not isinstance(found, list):
        raise ValueError("`tools` must be a JSON list")
    return found


def _strict(text: str) -> Any:
    value = parse_json(text.encode())
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("a tool or call holds NaN or infinity, which JSON has not") from None
    return value


def as_function(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """A definition in OpenAI's form, ``{"type": "function", "function": …}``; LLaMA-Factory's rows have the inner part.

    Raises:
        ValueError: it has no name.
    """
    whole = definition if "function" in definition else {"type": "function", "function": definition}
    function = whole["function"]
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError("a tool needs a `name`")
    return {"type": "function", **whole}
