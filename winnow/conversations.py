"""The ways in which datasets spell a conversation: ``conversations``, ``messages``, or ``query``/``response``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from winnow.errors import UserError

Role = Literal["user", "assistant", "system"]
# A tool's reply is read as the user's turn, a call of a tool as the assistant's, so that training masks them so.
ROLES: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant",
    "system": "system", "observation": "user", "tool": "user", "tool_response": "user",
    "function_call": "assistant", "tool_call": "assistant",
}  # fmt: skip
IMAGE_MARKER = "<image>"
_IMAGE_PARTS = ("image", "image_url")


@dataclass(frozen=True, slots=True)
class SpelledTurns:
    """A record's turns and the way it spelled them.

    Attributes:
        turns: (role, text) in order.
        key: ``conversations``, ``messages`` or ``query``.
        role_key, value_key, role_names: names inside the turns of a list.
        rows: the turns as they were, where they hold more than role and text; else empty.
        system_key: ``system`` if the first turn comes from that key beside the turns; else ''.
        images: image paths that the parts of turns name.
        used: keys of the record that the turns were read from.
    """

    turns: tuple[tuple[Role, str], ...]
    key: str
    role_key: str = ""
    value_key: str = ""
    role_names: tuple[str, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    system_key: str = ""
    images: tuple[str, ...] = ()
    used: tuple[str, ...] = ()


OWN_SPELLING = SpelledTurns((), "conversations", "from", "value")


def read_turns(record: Mapping[str, Any], where: str) -> SpelledTurns:
    """Read the conversation of a record.

    Known are ``conversations`` (``from``/``value``), ``messages`` (``role``/``content``, a text or a list
    of parts) and ms-swift's older ``query``, ``response`` and ``history`` (a list of pairs), each with an
    optional text ``system`` beside it.

    Args:
        where: file and line, for errors.

    Raises:
        UserError: the record has no conversation, an unknown role, or a value of the wrong type.
    """
    key = next((key for key in ("conversations", "messages") if key in record), "")
    system = record.get("system")
    opening: tuple[tuple[Role, str], ...] = (("system", system),) if isinstance(system, str) and system else ()
    system_key = "system" if opening else ""
    if not key and isinstance(record.get("query"), str):
        pairs = _pairs(record, where)
        used = tuple(name for name in (system_key, "history", "query", "response") if name in record)
        return SpelledTurns((*opening, *pairs), "query", system_key=system_key, used=used)
    rows = record.get(key)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{where}: needs a non-empty list 'conversations' or 'messages'")
    first = rows[0] if isinstance(rows[0], dict) else {}
    role_key = "from" if "from" in first else "role"
    value_key = "value" if "value" in first else "content"
    turns: list[tuple[Role, str]] = []
    names: list[str] = []
    images: list[str] = []
    for number, row in enumerate(rows, start=1):
        name = row.get(role_key) if isinstance(row, dict) else None
        value = row.get(value_key) if isinstance(row, dict) else None
        if isinstance(value, list):
            value = _joined(value, images)
        if not isinstance(name, str) or name not in ROLES or not isinstance(value, str):
            raise UserError(
                f"{where}: turn {number} needs {role_key!r} (one of {', '.join(ROLES)}) and a text {value_key!r}"
            )
        names.append(name)
        turns.append((ROLES[name], value))
    plain = all(list(row) == [role_key, value_key] and isinstance(row[value_key], str) for row in rows)
    return SpelledTurns(
        (*opening, *turns), key, role_key, value_key, tuple(names), () if plain else tuple(rows), system_key,
        tuple(images), (key, system_key) if system_key else (key,),
    )  # fmt: skip


def spell_turns(texts: Sequence[tuple[str, str]], spelled: SpelledTurns, keys: Sequence[str]) -> dict[str, Any]:
    """Spell (role, text) pairs as the record did: the inverse of ``read_turns``.

    Args:
        keys: all keys of the record.

    Returns:
        Values of the keys that hold the conversation.
    """
    values: dict[str, Any] = {}
    left = list(texts)
    if spelled.system_key and left:
        values[spelled.system_key] = left.pop(0)[1]
    if spelled.key == "query":
        if "response" in keys and left and left[-1][0] == "assistant":
            values["response"] = left.pop()[1]
        values["query"] = left.pop()[1] if left else ""
        pairs = zip(left[::2], left[1::2], strict=False)
        values["history"] = [[question, answer] for (_, question), (_, answer) in pairs]
        return values
    names = spelled.role_names or tuple(role for role, _ in left)
    turns = [{spelled.role_key: name, spelled.value_key: text} for name, (_, text) in zip(names, left, strict=True)]
    if spelled.rows:
        turns = [
            dict(row) if isinstance(row.get(spelled.value_key), list) else {**dict(row), **turn}
            for row, turn in zip(spelled.rows, turns, strict=True)
        ]
    values[spelled.key] = turns
    return values


def _pairs(record: Mapping[str, Any], where: str) -> tuple[tuple[Role, str], ...]:
    history = record.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in history
    ):
        raise UserError(f"{where}: 'history' must be a list of pairs of texts")
    turns: list[tuple[Role, str]] = []
    for question, answer in history:
        turns += [("user", question), ("assistant", answer)]
    turns.append(("user", record["query"]))
    response = record.get("response")
    if not isinstance(response, str | None):
        raise UserError(f"{where}: 'response' must be a text")
    return (*turns, ("assistant", response)) if response is not None else tuple(turns)


def _joined(parts: list[Any], images: list[str]) -> str | None:
    """The text of a list of parts, with ``<image>`` for an image; None if a part is neither text nor image."""
    texts: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _IMAGE_PARTS:
            texts.append(IMAGE_MARKER)
            named = part.get(kind) or part.get("path") or part.get("url")
            named = named.get("url") if isinstance(named, dict) else named
            images += [named] if isinstance(named, str) and named else []
        else:
            return None
    return "".join(texts)
