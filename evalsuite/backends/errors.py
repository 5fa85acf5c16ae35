"""What a server's answer means: a completion, or an error after which to retry, give up the row, or stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from winnow.retry import TRANSIENT, retry_after

_BUSY = {429, 503, 529}
_LATER = TRANSIENT | {409}
_HOPELESS = {401, 402, 403, 404, 405}
PATIENCE = 300.0  # seconds; a server that asks to wait longer is not waited for
_SHOWN = 300


class Malformed(ValueError):
    """The server answered, but not with a chat completion."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What to do about an error.

    Attributes:
        do: ``again``, ``give_up`` (this row is failed) or ``stop`` (no row can work).
        overloaded: the server has too much to do.
        wait: seconds that the server asks to wait, if it does.
        reason: what happened.
    """

    do: Literal["again", "give_up", "stop"]
    overloaded: bool
    wait: float | None
    reason: str


def retry_decision(error: Exception) -> RetryDecision:
    """What to do about an exception of the ``openai`` client, or about ``Malformed``."""
    import openai

    if isinstance(error, Malformed):
        return RetryDecision("again", False, None, str(error))
    if isinstance(error, openai.APITimeoutError):
        return RetryDecision("again", True, None, "no answer in time")
    if isinstance(error, openai.APIStatusError):
        return _by_status(error.status_code, error.response.headers, error.body)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        return RetryDecision("again", False, None, f"connection failed ({_short(str(cause) or type(cause).__name__)})")
    raise error


def _by_status(status: int, headers: Mapping[str, str], body: object) -> RetryDecision:
    reason = f"HTTP {status}: {_message(body)}"
    wait = retry_after(headers)
    if status in _HOPELESS or (status == 429 and _code(body) == "insufficient_quota"):
        return RetryDecision("stop", False, None, reason)
    if status not in _LATER:
        return RetryDecision("give_up", False, None, reason)
    if wait is not None and wait > PATIENCE:
        return RetryDecision("give_up", True, None, f"{reason} (asks to wait {wait:,.0f} s)")
    return RetryDecision("again", status in _BUSY, wait, reason)


def read_completion(text: str) -> tuple[str, str, int, int]:
    """Raw text, finish reason, input tokens and output tokens of a chat completion.

    Raises:
        Malformed: it is no chat completion, or it ended in a way that gives no answer.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise Malformed(f"the answer is not JSON: {_short(text)!r}") from error
    if isinstance(body, dict) and body.get("error"):
        raise Malformed(f"the server reports an error: {_message(body)}")
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("the answer holds no choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise Malformed("the answer holds no message")
    usage = body.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    tokens = [value if isinstance(value := counted.get(name), int) else 0
              for name in ("prompt_tokens", "completion_tokens")]  # fmt: skip
    refusal = message.get("refusal")
    reason = "content_filter" if isinstance(refusal, str) and refusal else choices[0].get("finish_reason") or "stop"
    if reason not in ("stop", "length", "content_filter"):
        raise Malformed(f"the answer ended with {_short(str(reason))!r}")
    raw = refusal if isinstance(refusal, str) and refusal else _content(message.get("content"))
    return raw, reason, tokens[0], tokens[1]


def _content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part.get("text") or "") for part in content)
    raise Malformed("the message's content is no text")


def _message(body: object) -> str:
    found: Any = body
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return _short(found if isinstance(found, str) else json.dumps(found, default=str)) or "no message"


def _code(body: object) -> str | None:
    inner = body.get("error", body) if isinstance(body, dict) else None
    return str(inner["code"]) if isinstance(inner, dict) and inner.get("code") else None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
