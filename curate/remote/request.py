"""One attempt to get one image: connect, follow redirects, go on after a break."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
from yarl import URL

from curate.remote.address import REFUSED
from curate.remote.part import Part
from curate.settings import RemoteSettings
from winnow.http import FetchError, refused

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16


async def attempt(session: aiohttp.ClientSession, url: str, part: Part, settings: RemoteSettings) -> None:
    """Fill ``part`` with the whole body of ``url``; what an earlier attempt left in it is not sent again.

    Raises:
        FetchError: it did not arrive.
        UserError: it cannot be written.
    """
    try:
        with part.open():
            async with asyncio.timeout(settings.deadline):
                await _get(session, parsed(url), part, settings)
    except TimeoutError:
        raise FetchError("remote_unavailable", "timed out", retry=True, no_answer=not part.size) from None
    except aiohttp.InvalidURL as error:
        raise FetchError("remote_bad_url", str(error)[:200]) from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise FetchError("remote_unavailable", f"its certificate is not valid ({error})"[:200]) from None
    except aiohttp.ClientConnectorError as error:
        raise _unreachable(error) from None
    except aiohttp.ClientResponseError as error:
        raise FetchError("remote_http", f"an answer that is no HTTP ({error.message})"[:200]) from None
    except (aiohttp.ClientError, OSError) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise FetchError("remote_unavailable", f"the connection broke ({detail})", retry=True) from None


def parsed(url: str, base: URL | None = None) -> URL:
    """An address to connect to; ``base`` is where a redirect came from.

    Raises:
        FetchError: it is none.
    """
    try:
        found = base.join(URL(url)) if base is not None else URL(url)
        if found.scheme not in ("http", "https") or not found.host:
            raise ValueError("no http or https address")
        found.port  # noqa: B018 (raises for one out of range)
    except ValueError as error:
        raise FetchError("remote_bad_url", str(error)[:200]) from None
    return found


async def _get(session: aiohttp.ClientSession, url: URL, part: Part, settings: RemoteSettings) -> None:
    if not part.validator:  # nothing tells whether the rest would fit
        part.clear()
    headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator} if part.size and part.validator else {}
    seen = [url]
    while True:
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                await _read(response, part)
                return
        url = parsed(location, url)
        if url in seen or len(seen) > settings.max_redirects:
            why = "in a loop" if url in seen else f"more than {settings.max_redirects}"
            raise FetchError("remote_redirects", why)
        seen.append(url)


async def _read(response: aiohttp.ClientResponse, part: Part) -> None:
    if response.status == 416:  # the file is another one now
        part.clear()
        raise FetchError("remote_unavailable", "HTTP 416", retry=True)
    if response.status not in (200, 206):
        raise refused(response.status, response.headers.get("Retry-After"))
    part.begin(response.status, response.headers)
    async for data in response.content.iter_chunked(_CHUNK):
        part.add(data)


def _unreachable(error: aiohttp.ClientConnectorError) -> FetchError:
    if REFUSED in str(error):
        return FetchError("remote_private", str(error.os_error)[:200])
    detail = " ".join(str(error).split())[:200]
    unknown = isinstance(error.os_error, socket.gaierror) and error.os_error.errno == socket.EAI_NONAME
    return FetchError("remote_unavailable", detail, retry=not unknown, no_answer=True)
