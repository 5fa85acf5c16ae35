"""Ask a server one question, again where that may help."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalsuite.backends import FinishReason, Reply, Request, cut_at_stop, no_answer
from evalsuite.backends.errors import Malformed, Verdict, back_off, judge, read_completion
from evalsuite.backends.rate import Pace
from evalsuite.backends.served.images import Unreadable, data_uri
from evalsuite.recipe import ServerSettings
from winnow.errors import UserError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_GIVE_UP_AFTER = 20  # failed rows in a row, with nothing answered in between


def client_of(settings: ServerSettings) -> AsyncOpenAI:
    """The client; its own retries are off, because a retry must also slow the run down."""
    from openai import AsyncOpenAI

    key = os.environ.get(settings.api_key_env) or "none"
    return AsyncOpenAI(base_url=settings.url, api_key=key, timeout=settings.timeout, max_retries=0)


@dataclass
class Asker:
    """Asks one request after the other, or many at a time; all of them share one pace."""

    client: AsyncOpenAI
    settings: ServerSettings
    model: str
    pace: Pace
    chance: random.Random
    failures: int = 0  # rows in a row without an answer

    async def ask(self, request: Request) -> Reply:
        """The reply to one request, after as many tries as are worth it."""
        try:
            messages = await asyncio.to_thread(fill_in, request, self.settings.max_image_bytes)
        except Unreadable as error:
            return no_answer(request.key, str(error))
        began = time.monotonic()
        for attempt in range(1, self.settings.max_attempts + 1):
            await self._pause()
            asked_at = time.monotonic()
            outcome = await self._try(request, messages, asked_at)
            if isinstance(outcome, Reply):
                self.pace.count()
                self.failures = 0
                return outcome
            verdict = outcome
            if verdict.overloaded:
                self.pace.slow_down(asked_at, verdict.wait)
            if verdict.do == "stop":
                raise UserError(f"{self.settings.url}: {self._without_key(verdict.words)}")
            if verdict.do == "give_up" or attempt == self.settings.max_attempts:
                break
            await asyncio.sleep(back_off(attempt, verdict.wait, self.chance))
        words = self._without_key(verdict.words) + (f" ({attempt} tries)" if attempt > 1 else "")
        self.failures += 1
        if self.failures >= _GIVE_UP_AFTER:
            raise UserError(
                f"{self.settings.url}: {self.failures} rows one after the other failed, the last with: {words}; "
                f"what was answered is kept, so run again when the server works{self._hint(request, words)}"
            )
        return no_answer(request.key, words, time.monotonic() - began)

    async def _pause(self) -> None:
        while (left := self.pace.resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _try(self, request: Request, messages: list[Any], asked_at: float) -> Reply | Verdict:
        import openai

        try:
            answer = await self.client.chat.completions.with_raw_response.create(**self._body(request, messages))
            raw, reason, given, written = read_completion(answer.http_response.text)
        except (openai.APIError, Malformed) as error:
            return judge(error)
        text, stopped = cut_at_stop(raw, request.stop) if reason != "content_filter" else (raw, False)
        finish: FinishReason = "stop" if stopped else reason  # type: ignore[assignment]
        return Reply(request.key, text, finish, given, written, time.monotonic() - asked_at)

    def _body(self, request: Request, messages: list[Any]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": messages}
        body[self.settings.token_limit] = request.max_new_tokens
        if self.settings.temperature is not None:
            body["temperature"] = self.settings.temperature
        if self.settings.seed is not None:
            body["seed"] = self.settings.seed
        if request.stop and self.settings.send_stop:
            body["stop"] = list(request.stop)
        if self.settings.extra_body:
            body["extra_body"] = self.settings.extra_body
        return body

    def _hint(self, request: Request, words: str) -> str:
        if words.startswith("HTTP 500") and request.stop and self.settings.send_stop:
            return "; if it cannot take `stop` (transformers serve), set `server.send_stop: false`"
        return ""

    def _without_key(self, words: str) -> str:
        key = os.environ.get(self.settings.api_key_env)
        return words.replace(key, "[key]") if key else words


def fill_in(request: Request, cap: int) -> list[Any]:
    """The request's messages with pictures in place of their blocks.

    Raises:
        Unreadable: a picture cannot be sent.
    """
    messages: list[Any] = json.loads(request.chat)
    pictures = iter(zip(request.images, request.image_keys, strict=True))
    for message in messages:
        for place, block in enumerate(message["content"]):
            if block["type"] == "image":
                file, key = next(pictures)
                message["content"][place] = {"type": "image_url", "image_url": {"url": data_uri(file, key, cap)}}
    return messages
