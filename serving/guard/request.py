"""A chat completion's request, taken apart: what may be in it, its texts and images, and the body that is forwarded.

The body is written anew from what was read, so that no reader behind the guard can see something else in it (keys that
occur twice, fields that replace the chat template, bytes after the end).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from serving.guard.policy import Policy

FIELD = "field"  # the role of texts that are no content of a message: tools, stop words
ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal"})
_DEEPEST = 24
_MOST_VALUES = 200_000  # of JSON, and commas and brackets in texts
_COUNTS = {"max_tokens": 1 << 20, "max_completion_tokens": 1 << 20, "top_k": 1 << 20, "seed": 1 << 62}
_NUMBERS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")


class RefusedError(Exception):
    """A request that is not forwarded.

    Attributes:
        status: of HTTP.
        code: for the client, e.g. ``prompt_injection``.
        stage: ``request``, ``text_in``, ``image``, ``text_out`` or ``guard``.
        rule: for the log.
        contents: what was refused, for the log and its digest.
        score: of a scorer.
        retry_after: seconds.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        stage: str = "request",
        rule: str = "",
        contents: str | bytes | None = None,
        score: float | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.stage, self.rule = status, code, message, stage, rule or code
        self.contents, self.score, self.retry_after = contents, score, retry_after


@dataclass
class TextPart:
    """A text of the request; ``put`` replaces it in the body that is forwarded."""

    role: str
    text: str
    put: Callable[[str], None]


@dataclass
class ImagePart:
    """An image of the request: bytes of a data address, or another address; ``put`` replaces it."""

    url: str
    data: bytes | None
    put: Callable[[str], None]


@dataclass
class ChatRequest:
    """A checked request.

    Attributes:
        body: what is forwarded.
    """

    body: dict[str, Any]
    texts: list[TextPart] = field(default_factory=list)
    images: list[ImagePart] = field(default_factory=list)

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted in pieces."""
        return self.body.get("stream") is True


def _bad(message: str, code: str = "invalid_request") -> NoReturn:
    raise RefusedError(400, code, message)


def read_request(data: bytes, policy: Policy) -> ChatRequest:
    """Take a request apart.

    Raises:
        RefusedError: it is no chat completion's request, or has something in it that is not let through.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:  # before they take a hundred times as many bytes
        raise RefusedError(413, "body_too_large", "The body has too many values")
    try:
        sent = orjson.loads(data)
    except orjson.JSONDecodeError:
        _bad("The body is not JSON")
    if not isinstance(sent, dict):
        _bad("The body is not a JSON object")
    if unknown := [key for key in sent if key not in policy.requests.fields]:
        _bad(f"The field {_shown(unknown[0])} is not let through", "unsupported_field")
    if not isinstance(sent.get("model"), str) or not re.fullmatch(r"[\w./:@+-]{1,200}", sent["model"]):
        _bad("The field `model` must be the name of a model")
    messages = sent.get("messages")
    if not isinstance(messages, list) or not messages:
        _bad("The field `messages` must be a list of messages")
    if len(messages) > policy.requests.max_messages:
        _bad(f"At most {policy.requests.max_messages} messages are taken", "too_many_messages")
    found = ChatRequest({key: value for key, value in sent.items() if value is not None})
    _check_numbers(found.body, policy)
    others = {key: value for key, value in found.body.items() if key not in ("model", "messages")}
    # The copy itself is forwarded: what is found in its texts is replaced there.
    found.body = _walked(others, found, FIELD, 0)
    found.body["model"] = sent["model"]
    found.body["messages"] = [_message(each, found, policy) for each in messages]
    if len(found.images) > policy.images.most:
        raise RefusedError(400, "too_many_images", f"At most {policy.images.most} images are taken", stage="image")
    if sum(len(part.text) for part in found.texts) > policy.text_in.max_chars:
        raise RefusedError(
            400, "text_too_long", f"At most {policy.text_in.max_chars:,} characters are taken", stage="text_in"
        )
    return found


def _check_numbers(body: dict[str, Any], policy: Policy) -> None:
    for key, most in _COUNTS.items():
        if key in body and (type(body[key]) is not int or abs(body[key]) > most):
            _bad(f"The field `{key}` must be a whole number")
    for key in _NUMBERS:
        if key in body and (type(body[key]) not in (int, float) or not math.isfinite(body[key])):
            _bad(f"The field `{key}` must be a number")
    if type(body.get("stream", False)) is not bool:
        _bad("The field `stream` must be true or false")
    choices = body.get("n", 1)
    if type(choices) is not int or not 1 <= choices <= policy.requests.max_choices:
        _bad(f"The field `n` must be 1 to {policy.requests.max_choices}")
    most = policy.requests.max_output_tokens
    wanted = [key for key in ("max_tokens", "max_completion_tokens") if key in body] or ["max_tokens"]
    for key in wanted:
        body[key] = min(max(body.get(key, most), 1), most)


def _message(sent: Any, found: ChatRequest, policy: Policy) -> dict[str, Any]:
    if not isinstance(sent, dict) or sent.get("role") not in ROLES:
        _bad(f"A message must have a role: {', '.join(ROLES)}")
    if unknown := sent.keys() - _MESSAGE_KEYS:
        _bad(f"A message may not have the field {_shown(min(unknown))}", "unsupported_field")
    role = sent["role"]
    if policy.system_prompt is not None and role in ("system", "developer"):
        raise RefusedError(400, "system_message", "System messages are not taken here", stage="text_in")
    made: dict[str, Any] = {"role": role}
    content = sent.get("content")
    if isinstance(content, str):
        made["content"] = content
        found.texts.append(TextPart(role, content, lambda text: made.__setitem__("content", text)))
    elif isinstance(content, list):
        made["content"] = [_part(each, role, found) for each in content]
    elif content is not None or role in ("system", "developer", "user"):
        _bad("The content of a message must be a text or a list of parts")
    for key in ("name", "tool_call_id"):
        if sent.get(key) is not None:
            if not isinstance(sent[key], str) or not re.fullmatch(r"[\w.:-]{1,128}", sent[key]):
                _bad(f"The field `{key}` of a message must be a short name")
            made[key] = sent[key]
            found.texts.append(TextPart(FIELD, sent[key], _fixed))
    for key in ("tool_calls", "refusal"):
        if sent.get(key) is not None:
            made[key] = _walked(sent[key], found, FIELD, 0)
    return made


def _part(sent: Any, role: str, found: ChatRequest) -> dict[str, Any]:
    kind = sent.get("type") if isinstance(sent, dict) else None
    if kind == "text" and isinstance(sent.get("text"), str) and not sent.keys() - {"type", "text"}:
        made = {"type": "text", "text": sent["text"]}
        found.texts.append(TextPart(role, sent["text"], lambda text: made.__setitem__("text", text)))
        return made
    if kind == "image_url" and isinstance(sent.get("image_url"), dict) and not sent.keys() - {"type", "image_url"}:
        inner = sent["image_url"]
        detail = inner.get("detail", "auto")
        if (
            isinstance(inner.get("url"), str)
            and not inner.keys() - {"url", "detail"}
            and detail in ("auto", "low", "high")
        ):
            address: dict[str, Any] = {"url": "", "detail": detail} if "detail" in inner else {"url": ""}
            data = _data_of(inner["url"])
            found.images.append(ImagePart(inner["url"], data, lambda url: address.__setitem__("url", url)))
            return {"type": "image_url", "image_url": address}
    _bad("A part of a message must be a text or an image_url", "unsupported_content")


_DATA = re.compile(r"data:[\w.+/-]{0,100};base64,")


def _data_of(url: str) -> bytes | None:
    """The bytes of a data address; None for another address."""
    if url[:5].lower() != "data:":
        return None
    head = _DATA.match(url[:120])
    if head is None:
        _bad("An image must be a data address in base64", "invalid_image")
    try:
        return base64.b64decode(url[head.end() :].encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        _bad("An image is not valid base64", "invalid_image")


def _walked(value: Any, found: ChatRequest, role: str, depth: int) -> Any:
    """A copy of any JSON, each text of which is looked at, names of keys too."""
    if depth > _DEEPEST:
        _bad("The body is nested too deeply")
    if isinstance(value, dict):
        made = {}
        for key, each in value.items():
            found.texts.append(TextPart(role, key, _fixed))
            made[key] = _walked(each, found, role, depth + 1)
            if isinstance(each, str):
                found.texts.append(TextPart(role, each, _setter(made, key)))
        return made
    if isinstance(value, list):
        copy = [_walked(each, found, role, depth + 1) for each in value]
        for at, each in enumerate(value):
            if isinstance(each, str):
                found.texts.append(TextPart(role, each, _setter(copy, at)))
        return copy
    return value


def _setter(holder: Any, key: Any) -> Callable[[str], None]:
    return lambda text: holder.__setitem__(key, text)


def _fixed(text: str) -> None:
    """A name is not replaced: what would have to be cleaned is refused."""
    _bad("The name of a field has characters that are not let through")


def _shown(name: object) -> str:
    return repr(str(name)[:40].encode("ascii", "replace").decode())


def add_system(request: ChatRequest, text: str) -> None:
    """Put a text into the first system message; one is made where there is none."""
    messages = request.body["messages"]
    if messages[0]["role"] in ("system", "developer") and isinstance(messages[0]["content"], str):
        messages[0]["content"] += "\n\n" + text
    else:
        messages.insert(0, {"role": "system", "content": text})
