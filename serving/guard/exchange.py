"""One HTTP exchange with a client: its body within bounds, answers, events, refusals. No header is passed on."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from serving.guard.policy import Policy, Requests
from serving.guard.request import ChatRequest, RefusedError

_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class Exchange:
    """Of one request.

    Attributes:
        id: made by the guard; a client's own is not taken over.
        is_streaming: whether a stream of events has begun.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: Headers, name: str) -> None:
        self._receive, self._send = receive, send
        self.headers, self.id = headers, name
        self.is_streaming = False

    async def body(self, limits: Requests) -> bytes:
        """The whole body.

        Raises:
            RefusedError: no JSON by its header, compressed, too large, or too slow.
        """
        headers = self.headers
        # Only JSON, which a page of another site cannot make a browser send without asking first.
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "unsupported_media_type", "Send JSON, with Content-Type: application/json")
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise RefusedError(415, "unsupported_media_type", "Send the body uncompressed")
        said = headers.get("content-length", "")
        if said.isdecimal() and int(said[:20]) > limits.max_bytes:
            raise RefusedError(413, "body_too_large", f"A request has at most {limits.max_bytes:,} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(limits.body_timeout):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise OSError("the client has gone")
                    body += message.get("body", b"")
                    if len(body) > limits.max_bytes:
                        raise RefusedError(413, "body_too_large", f"A request has at most {limits.max_bytes:,} bytes")
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise RefusedError(408, "body_too_slow", f"The body must arrive in {limits.body_timeout:g} s") from None

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def respond(self, status: int, value: Any, *, retry_after: float | None = None) -> None:
        """Answer with JSON."""
        data = orjson.dumps(value)
        extra = [(b"retry-after", str(max(math.ceil(retry_after), 1)).encode())] if retry_after is not None else []
        await self._start(status, b"application/json", [(b"content-length", str(len(data)).encode()), *extra])
        await self._send({"type": "http.response.body", "body": data})

    async def event(self, value: Any) -> None:
        """Send an event; the first one begins the stream."""
        if not self.is_streaming:
            await self._start(200, b"text/event-stream; charset=utf-8", [])
            self.is_streaming = True
        await self._send(
            {"type": "http.response.body", "body": b"data: " + orjson.dumps(value) + b"\n\n", "more_body": True}
        )

    async def end(self) -> None:
        """End a stream; one that never began has no events but its end."""
        if not self.is_streaming:
            await self._start(200, b"text/event-stream; charset=utf-8", [])
            self.is_streaming = True
        await self._send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def refuse(self, error: RefusedError, request: ChatRequest | None, policy: Policy) -> None:
        """Answer with an error, or with the policy's sentence where it wants that of refused contents."""
        if self.is_streaming:
            await self.event(error_body(error))
            await self.end()
            return
        speaks = policy.verdict == "sentence" and error.stage in ("text_in", "image", "text_out") and error.status < 500
        if not speaks or request is None:
            await self.respond(error.status, error_body(error), retry_after=error.retry_after)
        elif request.streams:
            await self.event(_chunk(request.body["model"], {"role": "assistant", "content": policy.sentence}, None))
            await self.event(_chunk(request.body["model"], {}, "content_filter"))
            await self.end()
        else:
            await self.respond(200, _completion(request.body["model"], policy.sentence))

    async def cut(self, error: RefusedError, policy: Policy) -> None:
        """End an answer of which a part was sent already."""
        if policy.verdict == "sentence":
            await self.event(_chunk("", {"content": f" {policy.sentence}"}, None))
            await self.event(_chunk("", {}, "content_filter"))
        else:
            await self.event(error_body(error))

    async def _start(self, status: int, kind: bytes, extra: list[tuple[bytes, bytes]]) -> None:
        headers = [
            (b"content-type", kind), (b"x-request-id", self.id.encode()), (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"), *extra,
        ]  # fmt: skip
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def error_body(error: RefusedError) -> dict[str, Any]:
    """An error as OpenAI's API gives it."""
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}


def _chunk(model: str, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "guard", "object": "chat.completion.chunk", "created": int(time.time()), "model": model,
            "choices": [choice]}  # fmt: skip


def _completion(model: str, text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "content_filter"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {"id": "guard", "object": "chat.completion", "created": int(time.time()), "model": model,
            "choices": [choice], "usage": usage}  # fmt: skip
