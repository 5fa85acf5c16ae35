"""A server as a ``Backend``: who answers there, how questions are written, how they are asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from evalsuite.backends import Reply, Request
from evalsuite.backends.chat import messages
from evalsuite.backends.choice import Backend, Render
from evalsuite.backends.errors import judge
from evalsuite.backends.served.ask import ask_all
from evalsuite.backends.served.asker import client_of
from evalsuite.recipe import EvalRecipe, ServerSettings
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.run import MANIFEST, read_manifest

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
