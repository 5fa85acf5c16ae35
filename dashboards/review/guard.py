"""Requests that write or cost: taken from this server's own pages only, as JSON, and of a bounded size."""

from __future__ import annotations

from collections.abc import Container, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_MOST_BYTES = 4_000_000
_FOREIGN = "Decisions are taken from this server's own pages only"


class RefusedError(Exception):
    """A request that is not answered: ``status`` and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def body_of(request: Request) -> bytes:
    """The body of a request from one of our own pages.

    A page of another site can make a visitor's browser send a form or a text to us, and nothing else without asking
    first: so only JSON is taken. Browsers also say where a request comes from, newer ones in ``Sec-Fetch-Site`` and all
    of them in ``Origin``.

    Raises:
        RefusedError: it comes from elsewhere, is no JSON by its header, or is too large.
    """
    headers = request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "Send JSON, with the header `Content-Type: application/json`")
    if not is_own(headers):
        raise RefusedError(403, _FOREIGN)
    size = headers.get("content-length", "")
    if size.isdecimal() and int(size[:20]) > _MOST_BYTES:
        raise RefusedError(413, f"Send at most {_MOST_BYTES:,} bytes at once")
    body = bytearray()
    async for part in request.stream():  # a chunked request does not say its size
        body += part
        if len(body) > _MOST_BYTES:
            raise RefusedError(413, f"Send at most {_MOST_BYTES:,} bytes at once")
    return bytes(body)


class OwnPagesOnly:
    """Refuses what a page of another origin sends, be it a write or a websocket, and so a session of the app.

    Streamlit itself takes a websocket from a page on any port of this machine, such as a notebook that shows somebody
    else's HTML, and from there every button of these pages could be pressed.
    """

    def __init__(self, app: ASGIApp, named_hosts: Sequence[str] = ()) -> None:
        """``named_hosts``: names by which browsers call this server through a proxy that may replace ``Host``."""
        self.app = app
        self._named = frozenset(name.lower() for name in named_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writes = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if not (writes or scope["type"] == "websocket") or is_own(Headers(scope=scope), self._named):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            await PlainTextResponse(_FOREIGN, 403)(scope, receive, send)


def is_own(headers: Headers, named_hosts: Container[str] = ()) -> bool:
    """Whether one of our pages sent a request; one that is no browser's names no site and passes.

    Behind a proxy the page's own host is in ``X-Forwarded-Host``, which no page of another site can set; a proxy that
    replaces ``Host`` by an address of this machine and sends neither is believed for ``named_hosts``.
    """
    if site := headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        asked = urlsplit(f"//{headers.get('host', '')}").hostname
        is_named = page.hostname in named_hosts and asked not in named_hosts
    except ValueError:
        return False
    hosts = (headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower())
    return page.netloc != "" and (page.netloc.lower() in hosts or is_named)
