"""The backend for a model behind a server: many requests at a time, retried where that may help."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evalsuite.backends import Backend, Earlier, Render, Reply, Request, messages, no_answer
from evalsuite.backends.completion import Completion, confidence, read_completion
from evalsuite.backends.errors import Malformed, RetryDecision, TooLong, retry_decision
from evalsuite.backends.images import Unreadable, data_uri
from evalsuite.backends.limiter import ConcurrencyLimiter, first_window
from evalsuite.backends.stop import after_thinking, opens_thinking
from evalsuite.recipe import EvalRecipe, ServerSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.retry import backoff
from winnow.run import MANIFEST, read_manifest

if TYPE_CHECKING:
    from openai import AsyncOpenAI


_DECIDES = {"revision", "temperature", "seed", "max_image_bytes"}  # settings that decide answers
_FIXED_FACTS = ("id", "root", "meta")  # of a listed model, those that stay while it stays the same
_NOT_READY = (429, 502, 503, 504)
_LIST_SECONDS = 20.0  # how long to wait for the list of models
_PART_ROWS, _PART_SECONDS = 256, 5.0  # replies are handed out after this many, or this long
_DOUBT_AFTER = 20  # rows that failed with nothing answered in between: does anything work?
_MOST_BYTES = 8_000_000  # of an answer's body; 32,000 tokens with their probabilities are about 4 MB
_OF_THE_BODY = {b"content-encoding", b"content-length", b"transfer-encoding"}
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
    except (openai.APIConnectionError, TimeoutError) as error:
        raise ConnectionError(retry_decision(error).reason) from error
    except (ValueError, KeyError, TypeError):  # TooLong is a ValueError
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
    """Name and facts of the model that answered, or judged, a finished run with the same server settings."""
    if not (recipe.folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(recipe.folder, finish_with="evalsuite run RECIPE")
    asked = settings.model_dump(mode="json")
    for found in ({**manifest, "server": manifest["recipe"].get("server")}, *manifest.get("judges", {}).values()):
        if found["server"] == asked:
            return found["server_model"], json.loads(found["server_facts"])
    return None


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
            messages = await asyncio.to_thread(fill_in, request, self.settings.max_image_bytes)
        except Unreadable as error:
            return no_answer(request.key, str(error))
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            await self._pause()
            asked_at = time.monotonic()
            result = await self.ask_once(request, messages)
            if isinstance(result, Reply):
                self.limiter.count()
                self.failures, self.answered = 0, request
                return result
            if result.overloaded:
                self.limiter.slow_down(asked_at, result.wait)
            if result.do == "stop":
                raise UserError(f"{self.settings.url}: {result.reason}")
            if result.do != "again" or attempt == self.settings.max_attempts:
                break
            await asyncio.sleep(
                backoff(attempt, base=_FIRST_WAIT, longest=_LONGEST_WAIT, asked=result.wait, rng=self.rng)
            )
        reason = result.reason + (f" ({attempt} tries)" if attempt > 1 else "")
        seconds = time.monotonic() - began
        self.failures += 1
        if self.failures >= _DOUBT_AFTER or (result.do == "suspect" and self.answered is None):
            await self._see_that_others_work(reason)
        return no_answer(request.key, reason, seconds, retry=result.passing)

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
                messages = await asyncio.to_thread(fill_in, request, self.settings.max_image_bytes)
                if isinstance(await self.ask_once(request, messages), Reply):
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
        try:
            found = await self._complete(request, messages)
            if request.stop and self.stops and _thinks(found):
                self.stops = False
                print(f"{self.model} thinks before it answers: no stop texts are sent from here on, because they "
                      "would end the thinking; they are cut when replies are read", file=sys.stderr)  # fmt: skip
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

    async def _complete(self, request: Request, messages: list[Any]) -> Completion:
        body = request_body(self.settings, self.model, request, stops=self.stops)
        answer = await self.client.chat.completions.with_raw_response.create(messages=messages, **body)
        return read_completion(answer.http_response.text)

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.settings.api_key_env)
        return text.replace(key, "[key]") if key else text


def _thinks(found: Completion) -> bool:
    return bool(found.reasoning) or opens_thinking(found.raw)


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
    if settings.extra_body:
        body["extra_body"] = settings.extra_body
    return body


PLAIN_QUESTION = Request(
    key="plain question",
    chat=json.dumps([{"role": "user", "content": [{"type": "text", "text": "Answer with one word: yes."}]}]),
    images=(),
    image_keys=(),
    max_new_tokens=16,
    stop=(),
)


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
