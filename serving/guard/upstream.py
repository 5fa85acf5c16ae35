"""The server behind the guard: requests to it carry the guard's own headers only, and its answers are bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from serving.guard.policy import Requests
from serving.guard.request import RefusedError
from winnow.errors import UserError

_PASSED = (400, 404, 413, 422, 429, 503)  # statuses that tell a client what to do
_MODEL_FIELDS = ("id", "object", "created", "owned_by", "max_model_len", "root")
_MOST_MODELS = 1000
_MODELS_SECONDS = 15.0  # for the list, which whoever asks for /health makes the guard ask for


class Upstream:
    """Connections to one server.

    Args:
        url: up to ``/v1``.

    Raises:
        UserError: it is no http or https address.
    """

    def __init__(self, url: str, key: str, limits: Requests) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise UserError(f"{url}: not an address of a server; write http://HOST:PORT/v1")
        self._url = url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "winnow-guard"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session; connections are made when they are needed."""
        limits = self._limits
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limits.concurrent, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=limits.timeout, sock_connect=10, sock_read=limits.idle_timeout),
            headers=self._headers, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False,
            read_bufsize=1 << 16,
        )  # fmt: skip

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def whole(self, body: dict[str, Any]) -> Any:
        """The answer to a request that is not streamed.

        Raises:
            RefusedError: there is none.
        """
        async with self._asked("POST", "/chat/completions", body) as response:
            return await self._json(response)

    async def models(self) -> dict[str, Any]:
        """The list of models, known fields only.

        Raises:
            RefusedError: there is none.
        """
        try:
            async with asyncio.timeout(_MODELS_SECONDS), self._asked("GET", "/models", None) as response:
                sent = await self._json(response)
        except TimeoutError:
            raise RefusedError(504, "upstream_timeout", "The server took too long", stage="upstream") from None
        listed = sent.get("data") if isinstance(sent, dict) else None
        if not isinstance(listed, list):
            raise _bad()
        made = []
        for one in listed[:_MOST_MODELS]:
            if isinstance(one, dict) and isinstance(one.get("id"), str):
                made.append({key: one[key] for key in _MODEL_FIELDS if isinstance(one.get(key), str | int)})
        return {"object": "list", "data": made}

    async def chunks(self, body: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """The chunks of a stream.

        Raises:
            RefusedError: it breaks, or is none.
        """
        async with self._asked("POST", "/chat/completions", body) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise _bad()
            async for data in self._events(response):
                if data == b"[DONE]":
                    return
                yield _parsed(data)
        raise RefusedError(502, "bad_upstream", "The server's answer broke off", stage="upstream")

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The data of each event; one of several lines is joined, as the format says."""
        pending = b""
        lines: list[bytes] = []
        size = 0
        async for piece in response.content.iter_any():
            *whole, rest = bytes(pending + piece).split(b"\n")
            pending = rest
            for line in whole:
                line = line.rstrip(b"\r")
                if line.startswith(b"data:"):
                    lines.append(line[5:].removeprefix(b" "))
                    size += len(line)
                elif not line and lines:
                    yield b"\n".join(lines)
                    lines, size = [], 0
            if len(pending) + size > self._limits.max_response_bytes:
                raise _bad()

    @contextlib.asynccontextmanager
    async def _asked(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RefusedError(503, "not_ready", "The guard has not started", stage="upstream")
        data = orjson.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _of_status(response.status, response.headers.get("retry-after", ""))
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise _bad()
                yield response
        except TimeoutError:
            raise RefusedError(504, "upstream_timeout", "The server took too long", stage="upstream") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise RefusedError(502, "bad_upstream", "The server cannot be reached", stage="upstream",
                               rule=f"upstream: {type(error).__name__}") from None  # fmt: skip

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > self._limits.max_response_bytes:
                raise _bad()
        return _parsed(bytes(data))


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _bad() from None


def _bad() -> RefusedError:
    return RefusedError(502, "bad_upstream", "The server's answer cannot be read", stage="upstream")


def _of_status(status: int, retry_after: str) -> RefusedError:
    """What a status of the server is for the client; its words are not passed on, which may repeat a prompt."""
    wait = float(retry_after[:6]) if retry_after.isdecimal() else None
    passed = status if status in _PASSED else 502
    return RefusedError(passed, "upstream_error", f"The server answered with HTTP {status}", stage="upstream",
                        rule=f"upstream/{status}", retry_after=wait)  # fmt: skip
