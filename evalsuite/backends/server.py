"""The backend for a model behind a server: many requests at a time, retried where that may help."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

from evalsuite.backends import Backend, Earlier, Probe, Render, Reply, Request, messages
from evalsuite.backends.errors import retry_decision
from evalsuite.backends.limiter import ConcurrencyLimiter, first_window
from evalsuite.backends.probe import probe_server
from evalsuite.backends.sender import RequestSender, client_of, thinks
from evalsuite.recipe import EvalRecipe, ServerSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.run import MANIFEST, read_manifest

_DECIDES = {"revision", "temperature", "seed", "max_image_bytes"}  # settings that decide answers
_FIXED_FACTS = ("id", "root", "meta")  # of a listed model, those that stay while it stays the same
_NOT_READY = (429, 502, 503, 504)
_LIST_SECONDS = 20.0  # how long to wait for the list of models
_PART_ROWS, _PART_SECONDS = 256, 5.0  # replies are handed out after this many, or this long


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
    if settings.max_pixels is not None:  # without it the identity stays that of runs before there was such a key
        decides["max_pixels"] = settings.max_pixels
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
        return ask_all(chosen, model, [request for request in requests if not known(request.key)], stops=not thinking)

    kept = {"model_digest": identity, "server_model": model, "server_facts": json.dumps(facts, sort_keys=True)}
    label = f"{model} at {settings.url}"

    thinking: list[Reply] = []
    taken: set[tuple[Any, ...]] = set()  # kinds of requests that were answered before, in an earlier turn

    def probe(requests: Sequence[Request]) -> Probe:
        new = [request for request in requests if request.kind not in taken]
        found = probe_server(settings, model, new)
        taken.update(request.kind for request in new)
        thinking.extend(reply for reply in found.replies if thinks(reply.raw, reply.reasoning))
        return found

    return Backend(identity, label, kept, renderer, probe, replies, repeatable=False, reachable=reachable)


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
    for found in ({**manifest, "server": manifest["recipe"].get("server")}, *manifest.get("judges", {}).values()):
        if found["server"] and ServerSettings.model_validate(found["server"]) == settings:
            return found["server_model"], json.loads(found["server_facts"])
    return None


def ask_all(
    settings: ServerSettings, model: str, requests: Sequence[Request], *, stops: bool = True
) -> Iterator[list[Reply]]:
    """Replies in parts as they arrive, failed ones included; after Ctrl-C those that had arrived, then the interrupt.

    Args:
        stops: send the requests' stop texts.

    Raises:
        UserError: the server refuses the key, the model or the address, or stopped answering.
    """
    arrived: list[Reply] = []
    parts = _parts(settings, model, requests, arrived, stops=stops)

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
    settings: ServerSettings, model: str, requests: Sequence[Request], arrived: list[Reply], *, stops: bool
) -> AsyncGenerator[list[Reply], None]:
    """Parts of replies; those not yet handed out are in ``arrived``."""
    waiting = deque(requests)
    limiter = ConcurrencyLimiter(first_window(settings.max_concurrency))
    running: set[asyncio.Task[Reply]] = set()
    written, broken = time.monotonic(), None
    async with client_of(settings) as client:
        sender = RequestSender(client, settings, model, limiter, random.Random(settings.seed), stops=stops)
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
