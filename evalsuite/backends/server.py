"""The backend for a model behind a server: many requests at a time, retried where that may help."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalsuite.backends import Backend, Earlier, FinishReason, Render, Reply, Request, cut_at_stop, messages, no_answer
from evalsuite.backends.errors import Malformed, RetryDecision, read_completion, retry_decision
from evalsuite.backends.images import Unreadable, data_uri
from evalsuite.backends.limiter import ConcurrencyLimiter, first_window
from evalsuite.recipe import EvalRecipe, ServerSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.retry import backoff
from winnow.run import MANIFEST, read_manifest

if TYPE_CHECKING:
    from openai import AsyncOpenAI


_DECIDES = {"revision", "temperature", "seed", "send_stop", "max_image_bytes"}  # settings that decide answers
_FIXED_FACTS = ("id", "root", "meta")  # of a listed model, those that stay while it stays the same
_NOT_READY = (429, 502, 503, 504)
_LIST_SECONDS = 20.0  # how long to wait for the list of models
_PART_ROWS, _PART_SECONDS = 256, 5.0  # replies are handed out after this many, or this long
_GIVE_UP_AFTER = 20  # rows in a row that failed, with nothing answered in between
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before the second attempt, and at most


def server_backend(recipe: EvalRecipe, settings: ServerSettings) -> Backend:
    """The backend for the model that the server answers for.

    A finished run can be read again while its server is down: the model is then the one that answered it.

    Raises:
        UserError: the server cannot be reached, or serves not exactly one model and none is named.
    """
    reachable = True
    try:
        listed = list_models(settings)
    except ConnectionError as error:
        known = _known(recipe, settings)
        if known is None:
            raise UserError(f"{settings.url}: {error}; start the server, or correct `server.url`") from error
        model, facts = known
        reachable = False
    else:
        model, facts = _pick(settings, listed)
    decides = settings.model_dump(mode="json", include=_DECIDES)
    identity = digest_of({"server": facts, "extra_body": settings.extra_body, **decides})

    def renderer() -> Render:
        def render(
            prompt: str, images: int, system: str | None, earlier: Sequence[Earlier] = ()
        ) -> tuple[str, str | None]:
            return json.dumps(messages(prompt, images, system, earlier), ensure_ascii=False), None

        return render

    def replies(
        requests: Sequence[Request], known: Callable[[str], bool], batch_size: int | None
    ) -> Iterator[list[Reply]]:
        chosen = settings.model_copy(update={"max_concurrency": batch_size}) if batch_size else settings
        return ask_all(chosen, model, [request for request in requests if not known(request.key)])

    kept = {"model_digest": identity, "server_model": model, "server_facts": json.dumps(facts, sort_keys=True)}
    label = f"{model} at {settings.url}"
    return Backend(identity, label, kept, renderer, replies, repeatable=False, reachable=reachable)


def list_models(settings: ServerSettings) -> list[dict[str, Any]] | None:
    """What ``/v1/models`` lists; None if this server has no such list.

    Raises:
        ConnectionError: no server answers.
        UserError: the server refuses the key.
    """
    import openai

    async def ask() -> str:
        async with client_of(settings) as client:
            patient = client.with_options(timeout=min(settings.timeout, _LIST_SECONDS))
            answer = await patient.models.with_raw_response.list()
            return answer.http_response.text

    try:
        listed = json.loads(asyncio.run(ask()))["data"]
        return [dict(entry) for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            raise UserError(
                f"{settings.url}: refuses the key in {settings.api_key_env} (HTTP {error.status_code})"
            ) from error
        if error.status_code in _NOT_READY:
            raise ConnectionError(retry_decision(error).reason) from error
        return None  # `transformers serve` answers 500 where there is no hub cache
    except openai.APIConnectionError as error:
        raise ConnectionError(retry_decision(error).reason) from error
    except (ValueError, KeyError, TypeError):
        return None


def _pick(settings: ServerSettings, listed: list[dict[str, Any]] | None) -> tuple[str, dict[str, Any]]:
    """The model's name and the facts that identify it."""
    if settings.model is None:
        if not listed or len(listed) > 1:
            names = ", ".join(entry["id"] for entry in listed or [])
            which = f"serves {names}" if names else "does not say what it serves"
            raise UserError(f"{settings.url}: {which}; name one in `server.model`")
        return listed[0]["id"], _facts(listed[0])
    entry = next((entry for entry in listed or [] if entry["id"] == settings.model), None)
    return settings.model, _facts(entry) if entry else {"id": settings.model}


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in _FIXED_FACTS if entry.get(name) is not None}


def _known(recipe: EvalRecipe, settings: ServerSettings) -> tuple[str, dict[str, Any]] | None:
    """Name and facts of the model that answered a finished run of the same server settings."""
    if not (recipe.folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(recipe.folder, finish_with="evalsuite run RECIPE")
    if manifest["recipe"].get("server") != settings.model_dump(mode="json"):
        return None
    return manifest["server_model"], json.loads(manifest["server_facts"])


def ask_all(settings: ServerSettings, model: str, requests: Sequence[Request]) -> Iterator[list[Reply]]:
    """Replies in parts as they arrive, failed ones included; after Ctrl-C those that had arrived, then the interrupt.

    Raises:
        UserError: the server refuses the key, the model or the address, or stopped answering.
    """
    arrived: list[Reply] = []
    parts = _parts(settings, model, requests, arrived)

    async def following() -> list[Reply]:
        return await anext(parts)

    with asyncio.Runner() as runner:  # closing it cancels what still runs and closes the generator
        try:
            while True:
                try:
                    yield runner.run(following())
                except StopAsyncIteration:
                    return
        except KeyboardInterrupt:
            if arrived:
                yield arrived
            raise


async def _parts(
    settings: ServerSettings, model: str, requests: Sequence[Request], arrived: list[Reply]
) -> AsyncGenerator[list[Reply], None]:
    """Parts of replies; those not yet handed out are in ``arrived``."""
    waiting = deque(requests)
    limiter = ConcurrencyLimiter(first_window(settings.max_concurrency))
    running: set[asyncio.Task[Reply]] = set()
    written, broken = time.monotonic(), None
    async with client_of(settings) as client:
        sender = RequestSender(client, settings, model, limiter, random.Random(settings.seed))
        try:
            while waiting or running:
                while waiting and len(running) < limiter.window.limit:
                    running.add(asyncio.create_task(sender.send(waiting.popleft())))
                done, running = await asyncio.wait(running, timeout=_PART_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if failure := task.exception():
                        broken = failure
                    else:
                        arrived.append(task.result())
                overdue = time.monotonic() - written > _PART_SECONDS
                if arrived and (overdue or broken or len(arrived) >= _PART_ROWS or not (waiting or running)):
                    part, written = arrived.copy(), time.monotonic()
                    arrived.clear()
                    yield part
                if broken:
                    raise broken
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@dataclass
class RequestSender:
    """Sends requests, one or many at a time; all of them share one limiter."""

    client: AsyncOpenAI
    settings: ServerSettings
    model: str
    limiter: ConcurrencyLimiter
    rng: random.Random  # of the jitter between attempts
    failures: int = 0  # rows in a row without an answer

    async def send(self, request: Request) -> Reply:
        """The reply to one request, after as many attempts as are worth it."""
        try:
            messages = await asyncio.to_thread(fill_in, request, self.settings.max_image_bytes)
        except Unreadable as error:
            return no_answer(request.key, str(error))
        began = time.monotonic()
        for attempt in range(1, self.settings.max_attempts + 1):
            await self._pause()
            asked_at = time.monotonic()
            result = await self._try(request, messages, asked_at)
            if isinstance(result, Reply):
                self.limiter.count()
                self.failures = 0
                return result
            decision = result
            if decision.overloaded:
                self.limiter.slow_down(asked_at, decision.wait)
            if decision.do == "stop":
                raise UserError(f"{self.settings.url}: {self._without_key(decision.reason)}")
            if decision.do == "give_up" or attempt == self.settings.max_attempts:
                break
            await asyncio.sleep(
                backoff(attempt, base=_FIRST_WAIT, longest=_LONGEST_WAIT, asked=decision.wait, rng=self.rng)
            )
        reason = self._without_key(decision.reason) + (f" ({attempt} tries)" if attempt > 1 else "")
        self.failures += 1
        if self.failures >= _GIVE_UP_AFTER:
            raise UserError(
                f"{self.settings.url}: {self.failures} rows one after the other failed, the last with: {reason}; "
                f"what was answered is kept, so run again when the server works{self._hint(request, reason)}"
            )
        return no_answer(request.key, reason, time.monotonic() - began)

    async def _pause(self) -> None:
        while (left := self.limiter.resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _try(self, request: Request, messages: list[Any], asked_at: float) -> Reply | RetryDecision:
        import openai

        try:
            answer = await self.client.chat.completions.with_raw_response.create(**self._body(request, messages))
            raw, reason, given, written = read_completion(answer.http_response.text)
        except (openai.APIError, Malformed) as error:
            return retry_decision(error)
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

    def _hint(self, request: Request, reason: str) -> str:
        if reason.startswith("HTTP 500") and request.stop and self.settings.send_stop:
            return "; if it cannot take `stop` (transformers serve), set `server.send_stop: false`"
        return ""

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.settings.api_key_env)
        return text.replace(key, "[key]") if key else text


def fill_in(request: Request, cap: int) -> list[Any]:
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
                message["content"][place] = {"type": "image_url", "image_url": {"url": data_uri(file, key, cap)}}
    return messages


def client_of(settings: ServerSettings) -> AsyncOpenAI:
    """The client; its own retries are off, because an overloaded server must also slow the run down."""
    from openai import AsyncOpenAI

    key = os.environ.get(settings.api_key_env) or "none"
    return AsyncOpenAI(base_url=settings.url, api_key=key, timeout=settings.timeout, max_retries=0)
