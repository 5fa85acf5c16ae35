"""A guard and an upstream on ports of this machine, each in a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from serving.guard.app import Guard
from serving.guard.policy import Policy
from serving.guard.server import config_of

Reply = Callable[[dict[str, Any]], Any]


class Upstream:
    """An OpenAI-compatible server that says what ``reply`` returns: a text, a list of pieces, or a Response."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.closed = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", lambda _: JSONResponse({"object": "list", "data": [{"id": "m", "secret": 1}]})),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        said = self.reply(body)
        if isinstance(said, Response):
            return said
        if not body.get("stream"):
            text = said if isinstance(said, str) else "".join(said)
            message = {"role": "assistant", "content": text}
            return JSONResponse(
                {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "extra": 1,
                 "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                 "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
                headers={"x-secret": "1"},
            )  # fmt: skip
        return StreamingResponse(self._events(said), media_type="text/event-stream")

    async def _events(self, said: Any) -> Any:
        try:
            for piece in said if isinstance(said, list) else list(said):
                yield event({"content": piece})
                await asyncio.sleep(0)
            yield event({}, "stop")
            yield "data: [DONE]\n\n"
        finally:
            self.closed += 1


def event(delta: dict[str, Any], reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'id': 'c', 'created': 1, 'model': 'm', 'choices': [choice]})}\n\n"


@contextlib.contextmanager
def running(config: uvicorn.Config, guard: Guard | None = None) -> Iterator[str]:
    config.port = 0
    server = uvicorn.Server(config)
    failed: list[BaseException] = []

    async def serve() -> None:
        if guard is not None:
            await guard.start()
        try:
            await server.serve()
        finally:
            if guard is not None:
                await guard.stop()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    if failed:
        raise failed[0]
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def guarded(policy: Policy, reply: Reply = lambda _: "fine") -> Iterator[tuple[httpx2.Client, Upstream, Guard]]:
    """A client of a guard before an upstream."""
    upstream = Upstream(reply)
    with running(uvicorn.Config(upstream.app(), log_level="error", lifespan="off", backlog=1024)) as address:
        guard = Guard(policy, f"{address}/v1")
        with running(config_of(guard, "127.0.0.1", 0), guard) as url, httpx2.Client(base_url=url, timeout=60) as client:
            yield client, upstream, guard


def policy(**sections: Any) -> Policy:
    return Policy.model_validate(sections)


def ask(client: httpx2.Client, content: Any, **more: Any) -> httpx2.Response:
    return client.post(
        "/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": content}], **more}
    )


def said(response: httpx2.Response) -> str:
    """The text of an answer, streamed or not."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return response.json()["choices"][0]["message"]["content"]
    return "".join(
        choice["delta"].get("content", "") for event in events(response) for choice in event.get("choices", ())
    )


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def image_part(data: bytes, mime: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{base64.b64encode(data).decode()}"}}


def png(side: int = 64, seed: int = 0, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 4), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
