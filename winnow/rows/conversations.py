"""The ways in which datasets spell a conversation, read as turns.

- ``conversations``, ``messages`` or ``conversation``: a list of ``from``/``value`` or ``role``/``content``; or of
  pairs, which are lists of two texts or ``human``/``assistant``, ``input``/``output`` and the like (XTuner)
- ``texts``: a list of ``user``/``assistant`` (the_cauldron, FineVision); ``qa_pairs`` and ``dialog`` likewise
- ``query`` with ``response`` and ``history``, a list of pairs (ms-swift)
- ``prompt`` with ``completion``; ``prompt`` or ``question`` with ``chosen`` and ``rejected``; ``chosen`` alone
- ``chosen_messages`` (LLaMA-Factory)

A text ``system`` beside them is the first turn, unless the turns begin with one of their own.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from winnow.rows.parts import IMAGE_MARKER as IMAGE_MARKER
from winnow.rows.parts import MEDIA_MARKERS as MEDIA_MARKERS
from winnow.rows.parts import VIDEO_MARKER as VIDEO_MARKER
from winnow.rows.parts import Media, json_text, pieces, with_plain_markers

Role = Literal["user", "assistant", "system"]
ROLES: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant",
    "prompter": "user", "chatgpt": "assistant", "model": "assistant", "ai": "assistant", "system": "system",
}  # fmt: skip
# A tool's reply is read as the user's turn, a call of a tool as the assistant's, so that training masks them so.
NAMED_ROLES: dict[str, Role] = {
    "tool_call": "assistant", "function_call": "assistant", "tool_response": "user", "tool": "user",
    "observation": "user", "observations": "user", "function_response": "user", "function": "user",
    "ipython": "user", "developer": "system",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation.

    Attributes:
        role: who speaks, as training masks it.
        value: the text, kept character for character.
        name: the record's own name of the role where it says more (``tool_call``, ``observation`` …); else ''.
        loss: whether the turn is trained; None leaves it to its role.
    """

    role: Role
    value: str
    name: str = ""
    loss: bool | None = None


class ReadTurn(NamedTuple):
    """A turn with what a record says about it beyond the turn itself.

    Attributes:
        place: keys and indices that lead to its text in the record, as it is or before files became markers; ()
            if the text was put together.
        extra: further fields of the turn.
        media: what the markers of its text stand for.
    """

    turn: Turn
    place: tuple[str | int, ...] = ()
    extra: Mapping[str, Any] = {}
    media: Mapping[str, list[Any]] = {}


class Conversation(NamedTuple):
    """The turns of a record, and the keys that they were read from."""

    turns: tuple[ReadTurn, ...]
    used: frozenset[str]


_LISTS = ("conversations", "messages", "conversation", "chosen_messages")
_OTHER_LISTS = ("texts", "dialog", "dialogue", "qa_pairs")  # if they hold turns
_TURN_KEYS = frozenset((*_LISTS, *_OTHER_LISTS))
_PROMPTS = ("prompt", "question", "query", "instruction")
_ASKED = ("user", "human", "question", "input", "query", "prompt")
_ANSWERED = ("assistant", "gpt", "bot", "answer", "output", "response")
_SYSTEMS = ("system", "system_prompt")
_LOSSES = ("loss", "loss_weight", "loss_scale", "weight", "train")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def holds_conversation(record: Mapping[str, Any]) -> bool:
    """Whether a record has its turns in a list, or the sides of a preference or of a completion.

    ``query`` and ``response`` alone are columns of a table too.
    """
    listed = [record[key] for key in ("conversations", "messages") if key in record]
    return (
        any(listed)
        or (bool(listed) and not any(record.get(key) for key in _PROMPTS))
        or any(are_turns(record[key]) for key in _TURN_KEYS.intersection(record))
        or is_preference(record)
        or bool(record.get("completion") and record.get("prompt"))
    )


def are_turns(value: Any) -> bool:
    """Whether a value is a list of turns or of pairs, by its first element, or looks like the JSON text of one."""
    if isinstance(value, str):
        return re.match(r"\s*\[\s*\{", value) is not None
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict):
        return _is_pair(first)
    return "from" in first or "role" in first or all(_keys_of_pair(first))


def _is_pair(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and all(isinstance(text, str) for text in row)


def _keys_of_pair(row: Mapping[str, Any]) -> list[str]:
    """The keys of question and answer, '' for one that is not there; a row with its own image is no pair."""
    if any("image" in key or "img" in key for key in row):
        return ["", ""]
    return [next((key for key in keys if isinstance(row.get(key), str | list)), "") for keys in (_ASKED, _ANSWERED)]


OWN_KEYS = frozenset({"id", "conversations", "source", "split", "meta"})
_OWN_TURN = frozenset({"from", "value", "loss"})


def own_turns(record: Mapping[str, Any]) -> tuple[ReadTurn, ...]:
    """The turns of a record in Winnow's own form, whose texts are as they are; () for any other record."""
    rows = record.get("conversations")
    if not (OWN_KEYS <= record.keys() <= OWN_KEYS | {"image", "answers"}) or not isinstance(rows, list):
        return ()
    found = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not row.keys() <= _OWN_TURN:
            return ()
        name, value, loss = row.get("from"), row.get("value"), row.get("loss")
        if not isinstance(name, str) or not isinstance(value, str) or not isinstance(loss, bool | None):
            return ()
        role = ROLES.get(name)
        if role is None and name not in NAMED_ROLES:
            return ()
        turn = Turn(role or NAMED_ROLES[name], value, "" if role else name, loss)
        found.append(ReadTurn(turn, ("conversations", number, "value")))
    return tuple(found)


def read_conversation(record: Mapping[str, Any], named: Mapping[str, str]) -> Conversation:
    """Read the turns of a record.

    Args:
        named: images by the marker that the record gives them; see ``winnow.rows.parts.pieces``.

    Raises:
        ValueError: the record has no conversation, an unknown role, or a value of the wrong type.
    """
    turns, used = _spelled(record, named)
    if not turns:
        raise ValueError("needs a non-empty list 'conversations' or 'messages'")
    system = next((key for key in _SYSTEMS if record.get(key) not in (None, "")), "")
    if system and not isinstance(record[system], str):
        raise ValueError(f"{system!r} must be a text")
    if system and turns[0].turn.role != "system":
        turns = (ReadTurn(Turn("system", record[system]), (system,)), *turns)
        used |= {system}
    elif system and turns[0].turn.value == record[system]:
        used |= {system}
    return Conversation(turns, used)


def _spelled(record: Mapping[str, Any], named: Mapping[str, str]) -> tuple[tuple[ReadTurn, ...], frozenset[str]]:
    turns: tuple[ReadTurn, ...] = ()
    used: frozenset[str] = frozenset()
    key = next((key for key in (*_LISTS, *_OTHER_LISTS) if key in record and are_turns(record[key])), "")
    key = key or next((key for key in _LISTS if record.get(key)), "")
    pairwise = is_preference(record)
    if key:
        turns, used = read_list(record[key], (key,), named), frozenset({key})
    elif isinstance(record.get("query"), str) and not (pairwise and "response" in record):
        turns, used = _query(record, named), frozenset({"query", "response", "history"})
    elif pairwise or record.get("completion") is not None:
        key = next((key for key in _PROMPTS if record.get(key)), "")
        turns, used = read_side(record.get(key), (key,), "user", named), frozenset({key})
        if not pairwise:
            if not isinstance(record.get("label"), bool):  # TRL trains the completion alone
                turns = tuple(read._replace(turn=_unlearned(read.turn)) for read in turns)
            turns += read_side(record["completion"], ("completion",), "assistant", named)
            used |= {"completion"}
    if not pairwise:
        return turns, used
    chosen = read_side(record["chosen"], ("chosen",), "assistant", named)
    shared = common(turns, chosen)
    if shared == len(turns) or not chosen:
        return (*turns, *chosen[shared:]), used | {"chosen"}
    if chosen[0].turn.role != "assistant" and key in _PROMPTS:
        return chosen, frozenset({"chosen"})  # the whole conversation; the prompt is another wording of its beginning
    if turns[-1].turn.role == "assistant" or chosen[0].turn.role != "assistant":
        raise ValueError("'chosen' is neither the last answer of the conversation nor its continuation")
    return (*turns, *chosen), used | {"chosen"}


def _unlearned(turn: Turn) -> Turn:
    return replace(turn, loss=False) if turn.role == "assistant" and turn.loss is None else turn


def is_preference(record: Mapping[str, Any]) -> bool:
    """Whether the record has a chosen and a rejected side."""
    if "chosen" not in record or "rejected" not in record:
        return False
    return all(isinstance(record[key], str | dict | list) and record[key] for key in ("chosen", "rejected"))


def common(first: Iterable[ReadTurn], second: Iterable[ReadTurn]) -> int:
    """With how many equal turns both begin."""
    shared = 0
    for (one, *_), (other, *_) in zip(first, second, strict=False):
        if (one.role, one.value) != (other.role, other.value):
            break
        shared += 1
    return shared


def read_side(value: Any, place: tuple[str | int, ...], role: Role, named: Mapping[str, str]) -> tuple[ReadTurn, ...]:
    """Turns of one side of a row: a text of ``role``, one turn, or a list of turns; () for null or nothing.

    Raises:
        ValueError: something else.
    """
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        return tuple(read._replace(place=place) for read in _row({"role": role, "content": value}, (), named))
    return read_list([value] if isinstance(value, dict) else value, place, named, single=isinstance(value, dict))


def read_list(
    rows: Any, place: tuple[str | int, ...], named: Mapping[str, str], *, single: bool = False
) -> tuple[ReadTurn, ...]:
    """Turns of a list, which may be written as JSON text.

    Args:
        place: keys that lead to the list, the last one for errors.
        single: the list was made of the one turn that is at ``place``.

    Raises:
        ValueError: not a list of turns, an unknown role, a value of the wrong type.
    """
    if isinstance(rows, str):
        try:
            rows, place = json.loads(rows), ()
        except (ValueError, RecursionError):
            rows = None
    if not isinstance(rows, list):
        raise ValueError(f"{(place or ('conversations',))[-1]!r} must be a list of turns")
    found: list[ReadTurn] = []
    for number, row in enumerate(rows):
        at = place if single else (*place, number) if place else ()
        try:
            found += _row(row, at, named)
        except ValueError as error:
            inside = f" in {place[-1]!r}" if place and place[-1] not in _LISTS else ""
            raise ValueError(f"turn {number + 1}{inside} {error}") from None
    return tuple(found)


def _row(row: Any, place: tuple[str | int, ...], named: Mapping[str, str]) -> Iterable[ReadTurn]:
    """The turns of one element: usually one; two of a pair, several where it calls tools."""
    if isinstance(row, dict) and len(row) == 2:  # a role and a text, as nearly all are
        value_key = "value" if "value" in row else "content" if "content" in row else "text"
        name, text = row.get("from" if "from" in row else "role"), row.get(value_key)
        if isinstance(name, str) and isinstance(text, str) and (role := ROLES.get(name)) is not None:
            place = (*place, value_key) if place else ()
            if "<" not in text:
                return (ReadTurn(Turn(role, text), place),)
            media: Media = {}
            text = with_plain_markers(text, media, named=named, tags=role == "user")
            return (ReadTurn(Turn(role, text), place, {}, media),)
    return _other_row(row, place, named)


def _other_row(row: Any, place: tuple[str | int, ...], named: Mapping[str, str]) -> Iterator[ReadTurn]:
    if _is_pair(row):
        for number, speaker in enumerate(("user", "assistant")):
            for read in _row({"role": speaker, "content": row[number]}, (), named):
                yield read._replace(place=(*place, number) if place else ())
        return
    if not isinstance(row, dict):
        raise ValueError("is no object")
    role_key = "from" if "from" in row else "role"
    if role_key not in row:
        pair = _keys_of_pair(row)
        if all(pair):
            yield from _pair(row, pair, place, named)
            return
    name = name if isinstance(name := row.get(role_key), str) else ""
    value_key = "value" if "value" in row else "content" if "content" in row else "text"
    media: Media = {}
    name = name.lower().replace("-", "_")
    role = ROLES.get(name) or NAMED_ROLES.get(name)
    if role is None:
        raise ValueError(f"needs {role_key!r}, one of {', '.join((*ROLES, *NAMED_ROLES))}")
    content, calls = row.get(value_key), _calls(row)
    if name in NAMED_ROLES and isinstance(content, dict | list) and not _are_parts(content):
        content = json_text(content)
    extra = {
        key: value for key, value in row.items()
        if value is not None and key not in (role_key, value_key, "tool_calls", "function_call")
    }  # fmt: skip
    loss = _loss(extra, role)
    own_name = name if name in NAMED_ROLES else ""
    thought = reasoning_key(row)
    if thought and role == "assistant" and not own_name and (isinstance(content, str) or (content is None and calls)):
        content = [{"type": "reasoning", "text": extra.pop(thought)}, content or ""]
    texts = [] if content is None and calls else pieces(content, media, named=named, tags=role == "user")
    if calls and texts and not texts[-1][1]:
        texts = texts[:-1]
    whole = place and isinstance(content, str) and content is row.get(value_key)
    for number, (kind, text) in enumerate(texts):
        spoken = Turn(NAMED_ROLES[kind] if kind else role, text, kind or own_name, loss)
        yield ReadTurn(spoken, (*place, value_key) if whole else (), {} if number else extra, {} if number else media)
    for number, (text, call) in enumerate(calls):
        own = {**call, **(extra if not texts and not number else {})}
        yield ReadTurn(Turn("assistant", text, "tool_call", loss), (), own)


def reasoning_key(fields: Mapping[str, Any]) -> str:
    """The field of a turn that holds its reasoning; '' if there is none."""
    return next((key for key in _THOUGHTS if isinstance(fields.get(key), str) and fields[key]), "")


def _pair(
    row: Mapping[str, Any], keys: list[str], place: tuple[str | int, ...], named: Mapping[str, str]
) -> Iterator[ReadTurn]:
    """Question and answer of one object, after its system text; its other fields go with the first of them."""
    keys = ["system", *keys] if isinstance(row.get("system"), str) and row["system"] else keys
    rest = {key: value for key, value in row.items() if key not in keys and value not in (None, "")}
    for role, key in zip(("system", "user", "assistant")[-len(keys) :], keys, strict=True):
        for read in _row({"role": role, "content": row[key]}, (), named):
            yield read._replace(place=(*place, key) if place else (), extra=rest)
        rest = {}


def _loss(extra: dict[str, Any], role: Role) -> bool | None:
    """Takes what says whether the turn is trained; weights between 0 and 1 stay in ``extra``.

    A weight of 0 on what is not the assistant's says nothing that its role does not.
    """
    for key in _LOSSES:
        value = extra.get(key)
        if value in (0, 1) and isinstance(value, int | float):
            del extra[key]
            return None if key != "loss" and not value and role != "assistant" else bool(value)
        if key == "loss" and value is not None:
            raise ValueError("needs true or false as 'loss'")
    return None


def _calls(row: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """OpenAI's ``tool_calls`` as (JSON text of name and arguments, other fields)."""
    calls = row.get("tool_calls") or ([{"function": row["function_call"]}] if row.get("function_call") else [])
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        call = call if isinstance(call, dict) else {}
        function = call.get("function", call)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError("needs objects with a 'function' in 'tool_calls'")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError, RecursionError):
                arguments = json.loads(arguments)
        rest = {key: value for key, value in call.items() if key != "function"} if "function" in call else {}
        found.append((json_text({"name": function["name"], "arguments": arguments}), rest))
    return found


def _are_parts(content: Any) -> bool:
    parts = content if isinstance(content, list) else [content]
    return bool(parts) and all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts)


def _query(record: Mapping[str, Any], named: Mapping[str, str]) -> tuple[ReadTurn, ...]:
    history = record.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in history
    ):
        raise ValueError("'history' must be a list of pairs of texts")
    texts: list[tuple[str, Any, tuple[str | int, ...]]] = []
    for number, (question, answer) in enumerate(history):
        texts += [("user", question, ("history", number, 0)), ("assistant", answer, ("history", number, 1))]
    texts.append(("user", record["query"], ("query",)))
    response = record.get("response")
    if not isinstance(response, str | None):
        raise ValueError("'response' must be a text")
    if response is not None:
        texts.append(("assistant", response, ("response",)))
    return tuple(
        read._replace(place=place)
        for role, text, place in texts
        for read in _row({"role": role, "content": text}, (), named)
    )


def as_rows(turns: Iterable[ReadTurn]) -> list[dict[str, Any]]:
    """Turns as ``{"role", "content"}``, with ``loss`` and further fields where they have them."""
    return [
        {
            **read.extra,
            "role": read.turn.name or read.turn.role,
            "content": read.turn.value,
            **({} if read.turn.loss is None else {"loss": read.turn.loss}),
        }
        for read in turns
    ]


def joined_media(turns: Iterable[ReadTurn]) -> Media:
    """What the markers of all turns stand for."""
    joined: Media = {}
    for read in turns:
        for marker, files in read.media.items() if read.media else ():
            joined.setdefault(marker, []).extend(files)
    return joined


def with_video_markers(turns: Iterable[ReadTurn]) -> tuple[ReadTurn, ...]:
    """The turns with ``<video>`` for ``<image>`` in those of the user, as LLaVA marks videos."""
    return tuple(
        read._replace(turn=replace(read.turn, value=read.turn.value.replace(IMAGE_MARKER, VIDEO_MARKER)))
        if read.turn.role == "user"
        else read
        for read in turns
    )
