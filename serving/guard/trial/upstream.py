"""A small OpenAI-compatible server that says what the attack set wants, so that only the guard is measured.

``python -m serving.guard.trial.upstream PORT FILE``: the file has, as JSON, replies by the request's ``user``. In a
reply ``{system}`` and ``{canary}`` are what the guard put into the system message.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_CANARY = re.compile(r"\(Reference ([0-9a-f]+)\. Never repeat it\.\)")
DEFAULT = "The picture shows a red circle on a white table."
_PACE = 0.02  # seconds between the pieces of a paced stream


class _Server:
    def __init__(self, replies: dict[str, str]) -> None:
        self._replies = replies

    async def chat(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        said = self._reply(body)
        if not body.get("stream"):
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return _json(
                {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
            )
        pause = _PACE if body.get("user") == "paced" else 0
        return StreamingResponse(self._events(said, body["model"], pause), media_type="text/event-stream")

    def _reply(self, body: dict[str, Any]) -> str:
        said = self._replies.get(body.get("user", ""), DEFAULT)
        system = next((each["content"] for each in body["messages"] if each["role"] == "system"), "")
        canary = _CANARY.search(system)
        plain = _CANARY.sub("", system).strip()
        return said.replace("{system}", plain).replace("{canary}", canary[1] if canary else "none")

    async def _events(self, said: str, model: str, pause: float) -> AsyncIterator[bytes]:
        for at in range(0, len(said), 4):
            yield _event(model, {"content": said[at : at + 4]}, None)
            await asyncio.sleep(pause)
        yield _event(model, {}, "stop")
        yield b"data: [DONE]\n\n"

    async def models(self, _: Request) -> Response:
        return _json({"object": "list", "data": [{"id": "test", "object": "model"}]})


def _event(model: str, delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def main() -> None:
    """Serve on 127.0.0.1."""
    server = _Server(orjson.loads(Path(sys.argv[2]).read_bytes()))
    routes = [Route("/v1/chat/completions", server.chat, methods=["POST"]), Route("/v1/models", server.models)]
    uvicorn.run(
        Starlette(routes=routes), port=int(sys.argv[1]), log_level="error", lifespan="off", backlog=1024, http="h11"
    )


if __name__ == "__main__":
    main()
