"""What a server takes, found out with a few requests before many are sent.

A request that fails is sent again without anything that is optional, then with one option at a time, so that the
option which the server refuses is named however its error is worded.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from evalsuite.backends import Finding, Probe, Reply, Request
from evalsuite.backends.errors import RetryDecision, answers_still
from evalsuite.backends.images import Unreadable
from evalsuite.backends.limiter import ConcurrencyLimiter, first_window
from evalsuite.backends.sender import PLAIN_QUESTION, RequestSender, client_of, fill_in
from evalsuite.recipe import ServerSettings

_ATTEMPTS = 3  # at what is only sent to learn what the server takes
_LIMITS = ("max_tokens", "max_completion_tokens")


def probe_server(settings: ServerSettings, model: str, requests: Sequence[Request]) -> Probe:
    """Send the requests one at a time, and say in words what the server does not take.

    Args:
        requests: one of each kind that will be sent (no image, one, several; with stop texts …).
    """
    without_field = [request for request in requests if request.thinking_budget is not None]
    if without_field and not settings.thinking_limit:
        message = (
            "a task sets generation.thinking_budget, and servers name that limit differently: say which field of "
            "the request it is in `server.thinking_limit`, e.g. reasoning.max_tokens"
        )
        return Probe((Finding(message, "server.thinking_limit: FIELD", fatal=True),))
    return asyncio.run(_probe_all(settings, model, requests)) if requests else Probe(())


async def _probe_all(settings: ServerSettings, model: str, requests: Sequence[Request]) -> Probe:
    limiter = ConcurrencyLimiter(first_window(1))
    findings: dict[str, Finding] = {}
    replies: list[Reply] = []
    async with client_of(settings) as client:
        sender = RequestSender(client, settings, model, limiter, random.Random(settings.seed))
        for request in requests:
            try:
                messages = await asyncio.to_thread(fill_in, request, settings)
            except Unreadable:  # the run will say so of that row
                continue
            result = await sender.ask(request, messages)
            if isinstance(result, Reply):
                replies.append(result)
                found = _looks_of(result, request)
            else:
                found = await _why(sender, request, messages, result)
            findings.update({finding.message: finding for finding in found})
            if any(finding.fatal for finding in found):
                break
    return Probe(tuple(findings.values()), tuple(replies))


def _looks_of(reply: Reply, request: Request) -> list[Finding]:
    """What the first reply shows about all that follow."""
    if reply.reasoning and not reply.raw.strip() and reply.finish_reason == "length":
        message = (
            f"the first reply is all thinking and no answer: {request.max_new_tokens} tokens do not suffice; raise "
            "`generation.max_new_tokens`, or switch thinking off with `server.extra_body`"
        )
        return [Finding(message, "generation.max_new_tokens: N", fatal=False)]
    if request.logprobs and reply.confidence is None and reply.raw:
        message = "the server leaves out the probabilities of tokens (logprobs), so there is no confidence"
        return [Finding(message, None, fatal=False)]
    return []


async def _why(sender: RequestSender, request: Request, messages: list[Any], failed: RetryDecision) -> list[Finding]:
    """What about a request that failed the server does not take."""
    url, reason = sender.settings.url, failed.reason
    if failed.do == "stop":
        return [Finding(f"{url}: {reason}; the key comes from {sender.settings.api_key_env}", None, fatal=True)]
    quick = sender.settings.model_copy(update={"max_attempts": min(sender.settings.max_attempts, _ATTEMPTS)})

    async def works(settings: ServerSettings, asked: Request, content: list[Any]) -> RetryDecision | None:
        """None, or why it fails."""
        result = await replace(sender, settings=settings).ask(asked, content)
        return None if isinstance(result, Reply) else result

    bare, plain = _without_options(quick, request)
    for limit in sorted(_LIMITS, key=lambda name: name != quick.token_limit):
        named = bare.model_copy(update={"token_limit": limit})
        if await works(named, plain, messages):
            continue
        if limit != quick.token_limit:
            message = f"{url}: refuses `{quick.token_limit}` ({reason}); set `server.token_limit: {limit}`"
            found = [Finding(message, f"server.token_limit: {limit}", fatal=True)]
        else:
            found = []
        for name, setting, settings, asked in _with_one_option(named, quick, request):
            if refused := await works(settings, asked, messages):
                message = f"{url}: refuses {name} ({refused.reason}); set `{setting}`"
                found.append(Finding(message, setting, fatal=True))
        if found or await works(quick, request, messages) is None:
            return found
        return [Finding(f"{url}: answers without options, but not as the recipe asks: {reason}", None, fatal=True)]
    return [await _about_content(url, reason, bare, plain, messages, works)]


async def _about_content(
    url: str, reason: str, bare: ServerSettings, plain: Request, messages: list[Any], works: Any
) -> Finding:
    """No option is to blame: the images, this row alone, or the server."""
    images = len(plain.images)
    if images > 1 and await works(bare, plain, _first_images(messages, 1)) is None:
        message = f"{url}: does not take {images} images in a request ({reason}); such rows will fail"
        return Finding(message, None, fatal=False)
    if images and await works(bare, plain, _first_images(messages, 0)) is None:
        takes_others = await works(bare, plain, _plain_image()) is None
        what = "the image of the first row" if takes_others else "images"
        remedy = "other images are taken" if takes_others else "name a model that sees images in `server.model`"
        return Finding(f"{url}: does not take {what} ({reason}); {remedy}", None, fatal=not takes_others)
    question = json.loads(PLAIN_QUESTION.chat)
    failures = [
        await works(bare.model_copy(update={"token_limit": limit}), PLAIN_QUESTION, question) for limit in _LIMITS
    ]
    if any(failure is None or answers_still(failure) for failure in failures):
        return Finding(f"{url}: the first row fails by itself: {reason}", None, fatal=False)
    hint = ""
    if "HTTP 404" in reason:
        hint = "; is `server.url` right up to /v1, and `server.model` the model's name there?"
    elif "connection failed" in reason:
        hint = "; start the server, or correct `server.url`"
    return Finding(f"{url}: cannot be asked: {reason}{hint}", None, fatal=True)


def _plain_image() -> list[Any]:
    """A question about a small grey image."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    blocks = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Which colour is this?"}]
    return [{"role": "user", "content": blocks}]


def _without_options(settings: ServerSettings, request: Request) -> tuple[ServerSettings, Request]:
    off: dict[str, Any] = {"seed": None, "temperature": None, "send_stop": False, "extra_body": {}}
    return settings.model_copy(update=off), replace(request, logprobs=False, thinking_budget=None)


def _with_one_option(
    bare: ServerSettings, settings: ServerSettings, request: Request
) -> Iterator[tuple[str, str, ServerSettings, Request]]:
    """Each option that the request has, by itself: its name, the setting without it, and what is to be sent."""
    plain = replace(request, logprobs=False, thinking_budget=None)
    for name in ("seed", "temperature"):
        if (value := getattr(settings, name)) is not None:
            yield f"`{name}`", f"server.{name}: null", bare.model_copy(update={name: value}), plain
    if request.stop and settings.send_stop:
        yield "`stop`", "server.send_stop: false", bare.model_copy(update={"send_stop": True}), plain
    for key, value in settings.extra_body.items():
        setting = f"server.extra_body` without `{key}"
        yield f"`{key}`", setting, bare.model_copy(update={"extra_body": {key: value}}), plain
    if request.logprobs:
        yield "`logprobs`", "generation.logprobs: false", bare, replace(plain, logprobs=True)
    if request.thinking_budget is not None:
        budget = replace(plain, thinking_budget=request.thinking_budget)
        yield f"`{settings.thinking_limit}`", "generation.thinking_budget: null", bare, budget


def _first_images(messages: list[Any], count: int) -> list[Any]:
    """The messages with their first ``count`` images alone."""
    left = count
    kept: list[Any] = []
    for message in messages:
        blocks = []
        for block in message["content"]:
            image = block["type"] == "image_url"
            if not image or left > 0:
                blocks.append(block)
            left -= image
        kept.append({**message, "content": blocks})
    return kept
