"""A chat completion as servers of many kinds send it: text, thinking, how it ended, tokens and their probabilities."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalsuite.backends import FinishReason
from evalsuite.backends.errors import SHOWN, Malformed, is_filtered, message_of
from evalsuite.backends.stop import after_thinking
from winnow.text import one_line

# Finish reasons, in lower case: OpenAI's, Anthropic's, Gemini's, Mistral's, Bedrock's and those of inference servers.
_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_completion_tokens", "model_length",
            "token_limit", "model_context_window_exceeded"}  # fmt: skip
_FILTERED = {"content_filter", "content_filtered", "contentfilter", "safety", "image_safety", "prohibited_content",
             "recitation", "image_recitation", "blocklist", "spii", "refusal", "guardrail_intervened", "sensitive",
             "data_inspection_failed", "moderation"}  # fmt: skip
# The server gave up in the middle: there may be text, but it is not the model's answer.
_BROKEN = {"error", "abort", "aborted", "cancelled", "canceled", "network_error", "engine_error", "timeout",
           "insufficient_system_resource"}  # fmt: skip
_THINKING_PARTS = {"thinking", "reasoning", "reasoning_text", "reasoning_content"}


class Completion(NamedTuple):
    """What a chat completion holds.

    Attributes:
        raw: the text, uncut.
        reasoning: thinking that came apart from the text.
        finish_reason: one of three; a reason that is not known, with or without text, is ``stop``.
        tokens: text and natural logarithm of the probability of each token; empty unless asked for.
        note: what had to be replaced so that the text can be stored, or None.
    """

    raw: str
    reasoning: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    tokens: tuple[tuple[str, float], ...] = ()
    note: str | None = None


def read_completion(text: str) -> Completion:
    """Read the body of an answer with status 200.

    Raises:
        Malformed: it is no chat completion, or it ended in a way that gives no answer.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(_no_json(text)) from error
    if not isinstance(body, dict):
        raise Malformed(f"the answer holds no choices: {one_line(text, SHOWN)!r}")
    usage = body.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    given, written = (
        value if isinstance(value := counted.get(name), int) else 0 for name in ("prompt_tokens", "completion_tokens")
    )
    if blocked := _blocked(body):
        return Completion("", "", "content_filter", given, written, note=blocked)
    if body.get("error"):
        raise Malformed(f"the server reports an error: {message_of(body)}")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("the answer holds no choices")
    choice = choices[0]
    reason = finish_reason(choice.get("finish_reason"))
    message = choice.get("message")
    if message is None and reason != "stop":  # Gemini sends none with what it cut off or filtered
        message = {}
    if not isinstance(message, dict):
        raise Malformed("the answer holds no message")
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        raw, apart, reason = refusal, "", "content_filter"
    else:
        raw, apart = _content(message.get("content"))
    reasoning = _reasoning(message) or apart
    (raw, lost), (reasoning, lost_there) = storable(raw), storable(reasoning)
    note = f"lone surrogates replaced by U+FFFD: {lost + lost_there}" if lost + lost_there else None
    return Completion(raw, reasoning, reason, given, written, _tokens(choice.get("logprobs")), note)


def finish_reason(given: object) -> FinishReason:
    """A provider's finish reason as one of ours.

    Raises:
        Malformed: the server broke off.
    """
    name = str(given or "stop").rpartition(".")[2].lower().replace("-", "_").replace(" ", "_")
    if name in _BROKEN:
        raise Malformed(f"the answer ended with {one_line(str(given), SHOWN)!r}")
    if name in _CUT_OFF:
        return "length"
    return "content_filter" if name in _FILTERED else "stop"


def storable(text: str) -> tuple[str, int]:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD, and how many there were."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")  # joins pairs
    kept = re.sub("[\ud800-\udfff]", "\ufffd", whole)
    return kept, sum(a != b for a, b in zip(kept, whole, strict=True))


def _blocked(body: dict[str, Any]) -> str | None:
    """Why the provider filtered the request, where its answer says so instead of giving choices."""
    feedback = body.get("promptFeedback") or body.get("prompt_feedback")
    if isinstance(feedback, dict) and (why := feedback.get("blockReason") or feedback.get("block_reason")):
        return f"the provider blocked the request: {one_line(str(why), SHOWN)}"
    return f"the provider filtered it: {message_of(body)}" if body.get("error") and is_filtered(body) else None


def _no_json(text: str) -> str:
    start = text.lstrip()[:100].lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return (
            f"the answer is a web page, no chat completion: {one_line(text, 80)!r}; is the address right, and does a "
            "proxy ask for a login?"
        )
    if start.startswith(("data:", "event:", ": ")):
        return "the server streams its answers (text/event-stream) although it was not asked to; switch that off there"
    return f"the answer is not JSON: {one_line(text, SHOWN)!r}"


def _content(content: Any) -> tuple[str, str]:
    """Text and thinking of a message's content, a text or a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list) or not all(isinstance(part, str | dict) for part in content):
        raise Malformed("the message's content is no text")
    texts, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") in _THINKING_PARTS:
            thoughts.append(_text_in(part))
        else:
            texts.append(str(part.get("text") or ""))
    return "".join(texts), "".join(thoughts)


def _reasoning(message: dict[str, Any]) -> str:
    """Thinking beside the content: DeepSeek's and vLLM's field, OpenRouter's fields, Ollama's."""
    for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details"):
        if found := _text_in(message.get(name)):
            return found
    return ""


def _text_in(value: Any) -> str:
    """The text of a thinking part, however deep it lies."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text_in, value))
    if isinstance(value, dict):
        names = ("thinking", "reasoning", "text", "summary", "content")
        return next((found for name in names if (found := _text_in(value.get(name)))), "")
    return ""


def _tokens(logprobs: Any) -> tuple[tuple[str, float], ...]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    found = [
        (entry["token"], float(entry["logprob"]))
        for entry in (content if isinstance(content, list) else [])
        if isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
        and not math.isnan(entry["logprob"])
    ]
    return tuple(found)


def confidence(tokens: Sequence[tuple[str, float]], stop: Sequence[str] = ()) -> float | None:
    """Probability, 0 to 1, of the tokens of an answer together; None if there are none.

    Counted are the tokens behind any thinking and before the first stop text.
    """
    written = "".join(text for text, _ in tokens)
    begin = after_thinking(written)
    begin += len(written[begin:]) - len(written[begin:].lstrip())
    end = min((place for place in (written.find(text, begin) for text in stop) if place >= 0), default=len(written))
    total, at, counted = 0.0, 0, 0
    for text, logprob in tokens:
        if at + len(text) > begin and at < end:
            total, counted = total + logprob, counted + 1
        at += len(text)
    return min(1.0, math.exp(total)) if counted else None
