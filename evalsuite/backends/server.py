"""A server as a ``Backend``: who answers there, how questions are written, how they are asked.

Ask a server many questions at a time: as many as it answers well, again where that may help.

Ask a server one question, again where that may help.

Images as data URIs: their own bytes where servers can read them, encoded anew where not.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalsuite.backends import FinishReason, Reply, Request, cut_at_stop, no_answer
from evalsuite.backends.chat import messages
from evalsuite.backends.choice import Backend, Render
from evalsuite.backends.errors import Malformed, Verdict, judge, read_completion
from evalsuite.backends.images import MAX_BYTES, MAX_PIXELS
from evalsuite.backends.rate import Pace, first_window
from evalsuite.recipe import EvalRecipe, ServerSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.http import backoff
from winnow.images import decode
from winnow.run import MANIFEST, read_manifest

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from PIL import Image


_SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
_PLAIN_MODES = {"RGB", "L"}  # servers read others (CMYK, 16 bit, palettes, transparency) each in its own way
_QUALITIES = (95, 88, 80)


class Unreadable(ValueError):
    """The file is no image that can be sent; the text says why."""


@lru_cache(maxsize=32)
def data_uri(file: str, image_key: str, cap: int) -> str:
    """The image as a data URI of at most ``cap`` bytes before base64.

    Args:
        image_key: sha256 of the bytes, so that a file that changed is not taken from the cache.

    Raises:
        Unreadable: missing, broken, or too large to decode.
    """
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise Unreadable(f"image {file}: {error.strerror}") from error
    image, facts = decode(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    if image is None:
        raise Unreadable(f"image {file}: {facts.error}")
    upright = facts.exif_orientation in (None, 0, 1)
    plain = facts.mode in _PLAIN_MODES and (facts.frames or 1) == 1
    if facts.format in _SENT_AS_THEY_ARE and upright and plain and len(data) <= cap:
        return _uri(_SENT_AS_THEY_ARE[facts.format], data)
    return encode(image, cap)


def encode(image: Image.Image, cap: int) -> str:
    """PNG if that fits into ``cap`` bytes, else JPEG of falling quality, else of half the size."""
    packed = _pack(image, "PNG", optimize=False)
    if len(packed) <= cap:
        return _uri("image/png", packed)
    while True:
        for quality in _QUALITIES:
            packed = _pack(image, "JPEG", quality=quality)
            if len(packed) <= cap:
                return _uri("image/jpeg", packed)
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), reducing_gap=2.0)


def _pack(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


_GIVE_UP_AFTER = 20  # failed rows in a row, with nothing answered in between
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before the second attempt, and at most


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
            await asyncio.sleep(
                backoff(attempt, base=_FIRST_WAIT, longest=_LONGEST_WAIT, asked=verdict.wait, rng=self.chance)
            )
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


_PART_ROWS, _PART_SECONDS = 256, 5.0


def ask_all(settings: ServerSettings, model: str, requests: Sequence[Request]) -> Iterator[list[Reply]]:
    """Replies in parts as they come, failed ones included; after Ctrl-C those that had come, then the interrupt.

    Raises:
        UserError: the server refuses the key, the model or the address, or stopped answering.
    """
    come: list[Reply] = []
    parts = _parts(settings, model, requests, come)

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
            if come:
                yield come
            raise


async def _parts(
    settings: ServerSettings, model: str, requests: Sequence[Request], come: list[Reply]
) -> AsyncGenerator[list[Reply], None]:
    """Parts of replies; those not yet handed out are in ``come``."""
    waiting = deque(requests)
    pace = Pace(first_window(settings.max_concurrency))
    running: set[asyncio.Task[Reply]] = set()
    written, broken = time.monotonic(), None
    async with client_of(settings) as client:
        asker = Asker(client, settings, model, pace, random.Random(settings.seed))
        try:
            while waiting or running:
                while waiting and len(running) < pace.window.limit:
                    running.add(asyncio.create_task(asker.ask(waiting.popleft())))
                done, running = await asyncio.wait(running, timeout=_PART_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if failure := task.exception():
                        broken = failure
                    else:
                        come.append(task.result())
                overdue = time.monotonic() - written > _PART_SECONDS
                if come and (overdue or broken or len(come) >= _PART_ROWS or not (waiting or running)):
                    part, written = come.copy(), time.monotonic()
                    come.clear()
                    yield part
                if broken:
                    raise broken
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


_FIXED_FACTS = ("id", "root", "meta")  # of a listed model, those that stay while it stays the same
_DECIDES = {"revision", "temperature", "seed", "send_stop", "max_image_bytes"}
_NOT_READY = (429, 502, 503, 504)
_PATIENCE = 20.0  # seconds for the list of models


def served(recipe: EvalRecipe, settings: ServerSettings) -> Backend:
    """The model that the server answers for.

    A finished run can be read again without its server: then the model is the one that answered.

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
        return lambda prompt, images, system: (json.dumps(messages(prompt, images, system), ensure_ascii=False), None)

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
        ConnectionError: nobody answers.
        UserError: the server refuses the key.
    """
    import asyncio

    import openai

    async def ask() -> str:
        async with client_of(settings) as client:
            answer = await client.with_options(timeout=min(settings.timeout, _PATIENCE)).models.with_raw_response.list()
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
            raise ConnectionError(judge(error).words) from error
        return None  # `transformers serve` answers 500 where there is no hub cache
    except openai.APIConnectionError as error:
        raise ConnectionError(judge(error).words) from error
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
