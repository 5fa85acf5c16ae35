"""What a failed request means: ask again, give up the row, a refusal, or the end of the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from winnow.remote.retry import TRANSIENT, retry_after
from winnow.text import one_line

_BUSY = {429, 503, 529}
_LATER = TRANSIENT | {409}
_HOPELESS = {401, 402}  # the key or the account; nothing about a row
_SUSPECT = {403, 404, 405}  # the key, the address or the model, unless other rows are answered
PATIENCE = 300.0  # seconds; a server that asks to wait longer is not waited for
SHOWN = 300  # characters of what a server says

# Codes by which providers say that they filtered a request: OpenAI and Azure, DashScope, Gemini, Bedrock,
# Volcengine, OpenRouter, LiteLLM.
_FILTER_CODE = re.compile(
    r"content_?filter|content_?policy|content_?moderation|moderation_?blocked|responsible_?ai|data_?inspection|"
    r"sensitive_?content|guardrail|prohibited_?content|^safety$|^recitation$|^blocklist$|^spii$|^image_?safety$",
    re.IGNORECASE,
)
_FILTER_MESSAGE = re.compile(
    r"content management policy|content[ _]filter|content[ _]policy|content[ _]moderation|data inspection failed|"
    r"inappropriate content|prohibited[ _]content|input was flagged|flagged by (?:our )?moderation|our safety system|"
    r"blocked (?:by|due to|because of) (?:our |the )?(?:safety|guardrail)|"
    r"violates? (?:our )?usage (?:guidelines|polic)|"
    r"new_sensitive|敏感内容|内容安全",
    re.IGNORECASE,
)

# What a server says of one request that is too long or too large.
_TOO_MUCH = re.compile(
    r"HTTP 413|context[ _](?:length|window|size)|too (?:long|large|many)|maximum .{0,40}(?:length|tokens|size)|exceeds",
    re.IGNORECASE,
)


class Malformed(ValueError):
    """The server answered, but not with a chat completion."""


class TooLong(ValueError):
    """The answer is longer than any that was asked for."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What to do about an error.

    Attributes:
        do: ``again``, ``give_up`` (this row is failed), ``refused`` (the provider filtered this row), ``suspect``
            (this row is failed, or no row can work) or ``stop`` (no row can work).
        overloaded: the server has too much to do.
        wait: seconds that the server asks to wait, if it does.
        reason: what happened.
        passing: it may work another time.
    """

    do: Literal["again", "give_up", "refused", "suspect", "stop"]
    overloaded: bool
    wait: float | None
    reason: str
    passing: bool = False


def retry_decision(error: Exception) -> RetryDecision:
    """What to do about an exception of the client, or about ``Malformed``."""
    import openai

    if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, TooLong | TimeoutError):
        error = error.__cause__  # openai 2 wraps what reading the body raises, openai 3 does not
    if isinstance(error, Malformed):
        return RetryDecision("again", False, None, str(error), passing=True)
    if isinstance(error, TooLong):
        return RetryDecision("give_up", False, None, str(error))
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return RetryDecision("again", True, None, "no answer in time", passing=True)
    if isinstance(error, openai.APIStatusError):
        return _by_status(error.status_code, error.response.headers, error.body)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        reason = f"connection failed ({one_line(str(cause) or type(cause).__name__, SHOWN)})"
        return RetryDecision("again", False, None, reason, passing=True)
    raise error


def _by_status(status: int, headers: Mapping[str, str], body: object) -> RetryDecision:
    reason = f"HTTP {status}: {message_of(body)}"
    wait = retry_after(headers)
    if 400 <= status < 500 and status != 429 and is_filtered(body):
        return RetryDecision("refused", False, None, reason)
    if status in _HOPELESS or (status == 429 and "insufficient_quota" in _codes(body)):
        return RetryDecision("stop", False, None, reason)
    if status in _SUSPECT:
        return RetryDecision("suspect", False, None, reason)
    if status not in _LATER:
        return RetryDecision("give_up", False, None, reason)
    if wait is not None and wait > PATIENCE:
        return RetryDecision("give_up", True, None, f"{reason} (asks to wait {wait:,.0f} s)", passing=True)
    return RetryDecision("again", status in _BUSY, wait, reason, passing=True)


def answers_still(decision: RetryDecision) -> bool:
    """Whether a failure shows that the server works, and minds only this request's content or length."""
    return decision.do == "give_up" and not decision.passing and bool(_TOO_MUCH.search(decision.reason))


def is_filtered(body: object) -> bool:
    """Whether an error says that the provider's content filter stopped the request or its answer."""
    return any(map(_FILTER_CODE.search, _codes(body))) or bool(_FILTER_MESSAGE.search(message_of(body)))


def message_of(body: object) -> str:
    """What an error body says, on one line."""
    found: Any = body
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return one_line(found if isinstance(found, str) else json.dumps(found, default=str), SHOWN) or "no message"


def _codes(body: object) -> list[str]:
    """Codes and types of an error, those of its inner errors included."""

    def inside(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for name in ("code", "type", "status"):
                if isinstance(value.get(name), str):
                    yield value[name]
            for name in ("error", "innererror", "inner_error"):
                yield from inside(value.get(name))

    return list(inside(body))
