"""Requests to a server: sent, retried where that may help, and read, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evalsuite.backends import Reply, Request, no_answer
from evalsuite.backends.completion import Completion, confidence, read_completion
from evalsuite.backends.errors import Malformed, RetryDecision, TooLong, answers_still, retry_decision
from evalsuite.backends.images import Unreadable, data_uri
from evalsuite.backends.limiter import ConcurrencyLimiter
from evalsuite.backends.stop import after_thinking, opens_thinking
from evalsuite.recipe import ServerSettings
from winnow.errors import UserError
from winnow.remote.retry import backoff

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_DOUBT_AFTER = 20  # rows that failed with nothing answered in between: does anything work?
_MOST_BYTES = 8_000_000  # of an answer's body; 32,000 tokens with their probabilities are about 4 MB
_OF_THE_BODY = {b"content-encoding", b"content-length", b"transfer-encoding"}
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before the second attempt, and at most


@dataclass
class RequestSender:
    """Sends requests, one or many at a time; all of them share one limiter.

    Attributes:
        rng: of the jitter between attempts.
        failures: rows in a row without an answer.
        answered: the last request that was answered.
        stops: send stop texts; off once replies turn out to think, because a stop text would end the thinking.
    """

    client: AsyncOpenAI
    settings: ServerSettings
    model: str
    limiter: ConcurrencyLimiter
    rng: random.Random
    failures: int = 0
    answered: Request | None = None
    stops: bool = True
    checking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, request: Request) -> Reply:
        """The reply to one request, after as many attempts as are worth it.

        Raises:
            UserError: no request can work any more.
        """
        try:
            messages = await asyncio.to_thread(fill_in, request, self.settings)
        except Unreadable as error:
            return no_answer(request.key, str(error))
        began = time.monotonic()
        result = await self.ask(request, messages)
        if isinstance(result, Reply):
            self.failures, self.answered = 0, request
            return result
        if result.do == "stop":
            raise UserError(f"{self.settings.url}: {result.reason}")
        seconds = time.monotonic() - began
        self.failures += 1
        if self.failures >= _DOUBT_AFTER or (result.do == "suspect" and self.answered is None):
            await self._see_that_others_work(result.reason)
        return no_answer(request.key, result.reason, seconds, retry=result.passing)

    async def ask(self, request: Request, messages: list[Any]) -> Reply | RetryDecision:
        """The reply, or what became of the last attempt."""
        attempt = 0
        while True:
            attempt += 1
            await self._pause()
            asked_at = time.monotonic()
            result = await self.ask_once(request, messages)
            if isinstance(result, Reply):
                self.limiter.count()
                return result
            if result.overloaded:
                self.limiter.slow_down(asked_at, result.wait)
            if result.do != "again" or attempt == self.settings.max_attempts:
                break
            await asyncio.sleep(
                backoff(attempt, base=_FIRST_WAIT, longest=_LONGEST_WAIT, asked=result.wait, rng=self.rng)
            )
        return replace(result, reason=f"{result.reason} ({attempt} tries)") if attempt > 1 else result

    async def _see_that_others_work(self, reason: str) -> None:
        """After failures in a row: are they the rows' own, or does nothing work any more?

        Raises:
            UserError: a question that was answered before fails as well, and so does a plain one.
        """
        failures = self.failures
        async with self.checking:
            if self.failures < failures:  # another row's check, or an answer, has settled it
                return
            known = [self.answered] if self.answered else []
            for request in [*known, PLAIN_QUESTION]:
                messages = await asyncio.to_thread(fill_in, request, self.settings)
                found = await self.ask_once(request, messages)
                if isinstance(found, Reply) or answers_still(found):
                    self.failures, self.answered = 0, request
                    return
        rows = f"{failures} rows one after the other failed" if failures > 1 else "a row failed"
        raise UserError(
            f"{self.settings.url}: {rows}, the last with: {reason}; a plain question fails there as well, so the run "
            "stops; what was answered is kept: run it again when the server works"
        )

    async def _pause(self) -> None:
        while (left := self.limiter.resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def ask_once(self, request: Request, messages: list[Any]) -> Reply | RetryDecision:
        """One attempt; a refusal by the provider's filter is a reply."""
        import openai

        asked_at = time.monotonic()
        sent = self.stops and self.settings.send_stop and bool(request.stop)
        try:
            found = await self._complete(request, messages)
            if sent and thinks(found.raw, found.reasoning):
                self._send_no_stops()
                if not found.raw[after_thinking(found.raw) :].strip():
                    found = await self._complete(request, messages)
        except (openai.APIError, Malformed, TooLong, TimeoutError) as error:
            decision = retry_decision(error)
            decision = replace(decision, reason=self._without_key(decision.reason))
            if decision.do != "refused":
                return decision
            found = Completion("", "", "content_filter", 0, 0, note=decision.reason)
        return Reply(
            request.key, found.raw, found.finish_reason, found.input_tokens, found.output_tokens,
            time.monotonic() - asked_at, found.note, found.reasoning,
            confidence(found.tokens, request.stop) if request.logprobs else None,
        )  # fmt: skip

    def _send_no_stops(self) -> None:
        if self.stops:
            print(f"{self.model} thinks before it answers: no stop texts are sent, because they would end the "
                  "thinking; they are cut when replies are read", file=sys.stderr)  # fmt: skip
        self.stops = False

    async def _complete(self, request: Request, messages: list[Any]) -> Completion:
        body = request_body(self.settings, self.model, request, stops=self.stops)
        answer = await self.client.chat.completions.with_raw_response.create(messages=messages, **body)
        return read_completion(answer.http_response.text)

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.settings.api_key_env)
        return text.replace(key, "[key]") if key else text


def thinks(raw: str, reasoning: str) -> bool:
    """Whether a reply came with the model's thinking."""
    return bool(reasoning) or opens_thinking(raw)


def request_body(settings: ServerSettings, model: str, request: Request, *, stops: bool = True) -> dict[str, Any]:
    """The request without its messages."""
    body: dict[str, Any] = {"model": model, settings.token_limit: request.max_new_tokens}
    temperature = settings.temperature if request.temperature is None else request.temperature
    if settings.temperature is not None and temperature is not None:
        body["temperature"] = temperature
    if settings.seed is not None:
        body["seed"] = settings.seed + request.seed
    if request.stop and settings.send_stop and stops:
        body["stop"] = list(request.stop)
    if request.logprobs:
        body["logprobs"] = True
    extra = dict(settings.extra_body)
    if request.thinking_budget is not None and settings.thinking_limit:
        first, *rest = settings.thinking_limit.split(".")
        extra[first] = _put(extra.get(first), rest, request.thinking_budget)
    if extra:
        body["extra_body"] = extra
    return body


def _put(inside: Any, path: list[str], value: int) -> Any:
    """``inside`` with ``value`` at ``path``, without changing it."""
    if not path:
        return value
    known = inside if isinstance(inside, dict) else {}
    return {**known, path[0]: _put(known.get(path[0]), path[1:], value)}


PLAIN_QUESTION = Request(
    key="plain question",
    chat=json.dumps([{"role": "user", "content": [{"type": "text", "text": "Answer with one word: yes."}]}]),
    images=(),
    image_keys=(),
    max_new_tokens=16,
    stop=(),
)


def fill_in(request: Request, settings: ServerSettings) -> list[Any]:
    """The request's messages with images in place of their blocks.

    Raises:
        Unreadable: an image cannot be sent.
    """
    messages: list[Any] = json.loads(request.chat)
    left = iter(zip(request.images, request.image_keys, strict=True))
    for message in messages:
        for place, block in enumerate(message["content"]):
            if block["type"] == "image":
                file, key = next(left)
                url = data_uri(file, key, settings.max_image_bytes, settings.max_pixels)
                message["content"][place] = {"type": "image_url", "image_url": {"url": url}}
    return messages


def client_of(settings: ServerSettings) -> AsyncOpenAI:
    """The client; its own retries are off, because an overloaded server must also slow the run down."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    class Capped(DefaultAsyncHttpxClient):
        """Reads no body without an end: neither a long one nor one that trickles."""

        async def send(self, request: Any, *, stream: bool = False, **more: Any) -> Any:
            async with asyncio.timeout(settings.timeout):
                response = await super().send(request, stream=True, **more)
                try:
                    data = await _capped(response)
                finally:
                    await response.aclose()
            headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_BODY]
            return type(response)(response.status_code, headers=headers, content=data, request=request)

    key = os.environ.get(settings.api_key_env) or "none"
    client = Capped(timeout=settings.timeout)
    return AsyncOpenAI(base_url=settings.url, api_key=key, timeout=settings.timeout, max_retries=0, http_client=client)


async def _capped(response: Any) -> bytes:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > _MOST_BYTES:
            raise TooLong(f"the answer is longer than {_MOST_BYTES:,} bytes")
    return bytes(data)
