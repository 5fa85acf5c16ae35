"""The upstream's answers, written anew: only known fields, each text through a filter of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from serving.guard.output import AnswerFilter
from serving.guard.request import RefusedError

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_FINISH = ("stop", "length", "tool_calls", "content_filter", "function_call")
_NAME = re.compile(r"[\w.:/@+-]{1,200}")
_MOST_CHOICES, _MOST_CALLS = 64, 64

NewFilter = Callable[[bool], AnswerFilter]


class Answer:
    """One answer of the upstream, whole or as chunks of a stream.

    Args:
        new_filter: makes the filter of a text, given whether it is JSON.

    Attributes:
        filters: of each text of each choice.
        stopped: the filter that ended the answer because of something forbidden.
    """

    def __init__(self, new_filter: NewFilter) -> None:
        self._new_filter = new_filter
        self.filters: dict[tuple[Any, ...], AnswerFilter] = {}
        self.stopped: AnswerFilter | None = None
        self._finished: set[int] = set()

    def whole(self, sent: Any) -> dict[str, Any]:
        """A chat completion, checked.

        Raises:
            RefusedError: something forbidden is in it, or it is no chat completion.
        """
        made = self._outer(sent, "chat.completion")
        for choice in _listed(sent, "choices", _MOST_CHOICES):
            index = _index(choice)
            message = choice.get("message")
            if not isinstance(message, dict):
                raise _not_understood()
            content = {"role": "assistant", "content": None, **self._texts(message, index, final=True)}
            reason = "length" if self._is_cut(index) else _finish(choice)
            made["choices"].append({"index": index, "message": content, "finish_reason": reason, "logprobs": None})
        if not made["choices"]:
            raise _not_understood()
        if self.stopped is not None:
            raise self.refusal()
        return made

    def chunk(self, sent: Any) -> dict[str, Any] | None:
        """A chunk with what of it may be sent now; None if nothing may be.

        Raises:
            RefusedError: it is no chunk.
        """
        made = self._outer(sent, "chat.completion.chunk")
        if "error" in sent:
            raise RefusedError(502, "upstream_error", "The server failed while it answered", stage="upstream")
        for choice in _listed(sent, "choices", _MOST_CHOICES):
            index = _index(choice)
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                raise _not_understood()
            if index in self._finished:
                continue
            reason = _finish(choice)
            content = self._texts(delta, index, final=reason is not None)
            if reason is not None:
                self._flush(content, index)
            if self._is_cut(index):
                reason = "length"
            if reason is not None:
                self._finished.add(index)
            if delta.get("role") == "assistant":
                content = {"role": "assistant", **content}
            if content or reason is not None:
                made["choices"].append({"index": index, "delta": content, "finish_reason": reason})
            if self.stopped is not None:
                break
        return made if made["choices"] or made.get("usage") else None

    def rest(self) -> dict[str, Any] | None:
        """What was held back of a stream that ended without saying so."""
        choices = []
        for index in sorted({key[0] for key in self.filters} - self._finished):
            content: dict[str, Any] = {}
            self._flush(content, index)
            if content:
                choices.append({"index": index, "delta": content, "finish_reason": None})
        return (
            {"id": "", "object": "chat.completion.chunk", "created": 0, "model": "", "choices": choices}
            if choices
            else None
        )

    def refusal(self) -> RefusedError:
        """The error for what was found."""
        found = self.stopped
        rule = found.hit.rule if found is not None and found.hit is not None else "blocked"
        hidden = found.hit_text if found is not None else None
        return RefusedError(400, "answer_not_allowed", "The answer has something in it that is not let through",
                            stage="text_out", rule=rule, contents=hidden)  # fmt: skip

    @property
    def masked(self) -> list[str]:
        """Rules by which something was masked."""
        return sorted({rule for each in self.filters.values() for rule in each.masked})

    def _outer(self, sent: Any, kind: str) -> dict[str, Any]:
        if not isinstance(sent, dict):
            raise _not_understood()
        made: dict[str, Any] = {"id": _name(sent.get("id")), "object": kind, "created": _count(sent.get("created")),
                                "model": _name(sent.get("model")), "choices": []}  # fmt: skip
        usage = sent.get("usage")
        if isinstance(usage, dict):
            known = ("prompt_tokens", "completion_tokens", "total_tokens")
            made["usage"] = {key: _count(usage.get(key)) for key in known}
        return made

    def _texts(self, message: dict[str, Any], index: int, *, final: bool) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key in _TEXTS:
            text = message.get(key)
            if text is None:
                continue
            if not isinstance(text, str):
                raise _not_understood()
            said = self._fed((index, key), text, final=final)
            if said:
                made[key] = said
        if calls := _listed(message, "tool_calls", _MOST_CALLS):
            made["tool_calls"] = [self._call(call, index, at, final=final) for at, call in enumerate(calls)]
        return made

    def _call(self, call: dict[str, Any], index: int, at: int, *, final: bool) -> dict[str, Any]:
        number = call["index"] if type(call.get("index")) is int and 0 <= call["index"] < _MOST_CALLS else at
        function = call.get("function")
        if not isinstance(function, dict):
            raise _not_understood()
        made: dict[str, Any] = {"index": number, "type": "function", "function": {}}
        if call.get("id"):
            made["id"] = self._named((index, "id", number), call["id"])
        if function.get("name"):
            made["function"]["name"] = self._named((index, "name", number), function["name"])
        if isinstance(function.get("arguments"), str):
            made["function"]["arguments"] = self._fed((index, "tool", number), function["arguments"], final=final)
        return made

    def _named(self, key: tuple[Any, ...], name: Any) -> str:
        """A name that a model chose: sent at once, as it may not be split."""
        return self._fed(key, _name(name), final=True)

    def _fed(self, key: tuple[Any, ...], text: str, *, final: bool) -> str:
        kept = self.filters.get(key)
        if kept is None:
            kept = self.filters[key] = self._new_filter(key[1] == "tool")
        said = kept.feed(text, final=final)
        if kept.ended == "blocked" and self.stopped is None:
            self.stopped = kept
        return said

    def _flush(self, content: dict[str, Any], index: int) -> None:
        """Add what is still held back of a choice."""
        for key in [key for key in self.filters if key[0] == index]:
            said = self._fed(key, "", final=True)
            if not said:
                continue
            if key[1] == "tool":
                content.setdefault("tool_calls", []).append({"index": key[2], "function": {"arguments": said}})
            else:
                content[key[1]] = content.get(key[1], "") + said

    def _is_cut(self, index: int) -> bool:
        return any(each.ended == "length" for key, each in self.filters.items() if key[0] == index)


def _not_understood() -> RefusedError:
    return RefusedError(502, "bad_upstream", "The server's answer is not a chat completion", stage="upstream")


def _listed(sent: dict[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    found = sent.get(key) or []
    if not isinstance(found, list) or len(found) > most or not all(isinstance(each, dict) for each in found):
        raise _not_understood()
    return found


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index", 0)
    if type(index) is not int or not 0 <= index < _MOST_CHOICES:
        raise _not_understood()
    return index


def _finish(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return None if reason is None else reason if reason in _FINISH else "stop"


def _name(value: Any) -> str:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def _count(value: Any) -> int:
    return int(value) if type(value) in (int, float) and math.isfinite(value) and abs(value) < 1 << 53 else 0
