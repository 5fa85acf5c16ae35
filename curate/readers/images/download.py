"""Download one image: connect, follow redirects, resume after a break, and check what arrives while it arrives.

A URL of a dataset may lead to public addresses only. That is checked on the address that the socket is about to connect
to, for every connection of every redirect: a name that resolves differently the second time (DNS rebinding) gains
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from curate.settings.sources import RemoteSettings
from winnow.errors import UserError
from winnow.media.images import pixels_of, suffix_of
from winnow.remote.retry import TRANSIENT, retry_after

REFUSED = "is not a public address"
_CLASSES = {404: "remote_404", 410: "remote_404", **dict.fromkeys((401, 402, 403, 407, 451), "remote_denied")}


class FetchError(Exception):
    """An attempt that brought no image.

    Attributes:
        kind: class of ``winnow.media.images``.
        detail: status or cause, for the journal.
        retry: another attempt may succeed.
        wait: seconds that the server asked to wait, None if it did not.
        no_answer: the host did not answer at all.
    """

    def __init__(
        self, kind: str, detail: str, *, retry: bool = False, wait: float | None = None, no_answer: bool = False
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.retry, self.wait, self.no_answer = kind, detail, retry, wait, no_answer


def refused(status: int, headers: Mapping[str, str]) -> FetchError:
    """The error for a response with a status other than success."""
    if status in TRANSIENT:
        return FetchError("remote_unavailable", f"HTTP {status}", retry=True, wait=retry_after(headers))
    return FetchError(_CLASSES.get(status, "remote_http"), f"HTTP {status}")


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16


async def attempt(session: aiohttp.ClientSession, url: str, partial: PartialDownload, settings: RemoteSettings) -> None:
    """Fill ``partial`` with the whole body of ``url``; what an earlier attempt left in it is not requested again.

    Raises:
        FetchError: it did not arrive completely.
        UserError: it cannot be written.
    """
    try:
        with partial.open():
            async with asyncio.timeout(settings.deadline):
                await _get(session, parsed(url), partial, settings)
    except TimeoutError:
        raise FetchError("remote_unavailable", "timed out", retry=True, no_answer=not partial.size) from None
    except aiohttp.InvalidURL as error:
        raise FetchError("remote_bad_url", str(error)[:200]) from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise FetchError("remote_unavailable", f"its certificate is not valid ({error})"[:200]) from None
    except aiohttp.ClientConnectorError as error:
        raise _unreachable(error) from None
    except aiohttp.ClientResponseError as error:
        raise FetchError("remote_http", f"the response is not HTTP ({error.message})"[:200]) from None
    except (aiohttp.ClientError, OSError) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise FetchError("remote_unavailable", f"the connection broke ({detail})", retry=True) from None


def parsed(url: str, base: URL | None = None) -> URL:
    """A URL to connect to; ``base`` is where a redirect came from.

    Raises:
        FetchError: it is not an http or https URL.
    """
    try:
        found = base.join(URL(url)) if base is not None else URL(url)
        if found.scheme not in ("http", "https") or not found.host:
            raise ValueError("not an http or https address")
        found.port  # noqa: B018 (raises for one out of range)
    except ValueError as error:
        raise FetchError("remote_bad_url", str(error)[:200]) from None
    return found


async def _get(session: aiohttp.ClientSession, url: URL, partial: PartialDownload, settings: RemoteSettings) -> None:
    if not partial.validator:  # without it the rest might be of another file
        partial.clear()
    headers = (
        {"Range": f"bytes={partial.size}-", "If-Range": partial.validator} if partial.size and partial.validator else {}
    )
    seen = [url]
    while True:
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                await _read(response, partial)
                return
        url = parsed(location, url)
        if url in seen or len(seen) > settings.max_redirects:
            why = "in a loop" if url in seen else f"more than {settings.max_redirects}"
            raise FetchError("remote_redirects", why)
        seen.append(url)


async def _read(response: aiohttp.ClientResponse, partial: PartialDownload) -> None:
    if response.status == 416:  # the file has changed
        partial.clear()
        raise FetchError("remote_unavailable", "HTTP 416", retry=True)
    if response.status not in (200, 206):
        raise refused(response.status, response.headers)
    partial.begin(response.status, response.headers)
    async for data in response.content.iter_chunked(_CHUNK):
        partial.add(data)


def _unreachable(error: aiohttp.ClientConnectorError) -> FetchError:
    if REFUSED in str(error):
        return FetchError("remote_private", str(error.os_error)[:200])
    detail = " ".join(str(error).split())[:200]
    unknown = isinstance(error.os_error, socket.gaierror) and error.os_error.errno == socket.EAI_NONAME
    return FetchError("remote_unavailable", detail, retry=not unknown, no_answer=True)


_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_ENOUGH = 32  # bytes that distinguish an image from a web page


class PartialDownload:
    """The bytes of an image as they arrive, in a file that a later attempt may continue.

    Attributes:
        size: bytes so far.
        validator: ETag or date by which the server knows whether the rest still fits; None if it sent none.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes
        self.size = 0
        self.validator: str | None = None
        self._total: int | None = None
        self._start = b""
        self._handle: FileIO | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Hold the file open for one attempt; between attempts only its name is held.

        Raises:
            UserError: it cannot be written.
        """
        with self._naming_file():
            self._handle = FileIO(self.path, "ab" if self.size else "wb")
        try:
            yield
        finally:
            self._handle.close()

    def clear(self) -> None:
        """Discard what has arrived."""
        if self._handle is not None and not self._handle.closed:
            with self._naming_file():
                self._handle.truncate(0)
        self.size, self.validator, self._total, self._start = 0, None, None, b""

    @contextlib.contextmanager
    def _naming_file(self) -> Iterator[None]:
        """An error of the file, unlike one of the network, ends the run."""
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Prepare for the body of a 200 or 206.

        Raises:
            FetchError: it would be too large, or it is not the range that was requested.
        """
        if status == 206:
            found = _RANGE.fullmatch(headers.get("Content-Range", ""))
            if not found or int(found[1]) != self.size:
                self.clear()
                raise FetchError("remote_unavailable", "another range than was requested", retry=True)
            self._total = int(found[2]) if found[2] != "*" else None
        else:
            self.clear()
            length = headers.get("Content-Length", "")
            self._total = int(length) if length.isdigit() else None
        etag = headers.get("ETag", "")
        # A weak ETag does not promise equal bytes.
        self.validator = etag if etag.startswith('"') else headers.get("Last-Modified")
        if self._total is not None and self._total > self._max_bytes:
            raise FetchError("remote_too_large", f"{self._total:,} bytes, the cap is {self._max_bytes:,}")

    def add(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            FetchError: there are too many, or they do not begin as an image does.
            UserError: they cannot be written.
        """
        if self.size + len(data) > self._max_bytes:
            raise FetchError("remote_too_large", f"more than {self._max_bytes:,} bytes")
        if self._handle is not None:
            with self._naming_file():
                self._handle.write(data)
        self.size += len(data)
        if len(self._start) < _ENOUGH:
            self._start += data[:_ENOUGH]
            if len(self._start) >= _ENOUGH:
                check_start(self._start)

    def finish(self, max_pixels: int) -> bytes:
        """All bytes, once the body has ended.

        Raises:
            FetchError: the body is too short, not an image, or has too many pixels.
        """
        if self._total is not None and self.size < self._total:
            raise FetchError("remote_unavailable", f"ended at {self.size:,} of {self._total:,} bytes", retry=True)
        check_start(self._start)
        data = self.path.read_bytes()
        check_pixels(data, max_pixels)
        return data


def check_start(data: bytes) -> None:
    """Raise FetchError unless bytes begin as an image does."""
    if not suffix_of(data):
        raise FetchError("remote_not_an_image", f"begins with {data[:12]!r}" if data else "0 bytes")


def check_pixels(data: bytes, max_pixels: int) -> None:
    """Raise FetchError for an image whose header says that it has too many pixels."""
    pixels = pixels_of(data)
    if pixels > max_pixels:
        raise FetchError("remote_too_large", f"{pixels:,} pixels, the cap is {max_pixels:,}")


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is neither private, loopback, link-local, multicast, reserved nor a way around that.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, Teredo, NAT64) are judged by themselves.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        inner = [found.sixtofour, *(found.teredo or ())]
        if found.is_site_local or not all(is_public(str(ipv4)) for ipv4 in inner if ipv4 is not None):
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def checked_socket(about: Any) -> socket.socket:
    """A socket for ``(family, type, protocol, _, address)``.

    Raises:
        OSError: the address is not public; the text holds ``REFUSED``.
    """
    family, kind, protocol, _, address = about
    if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(str(address[0])):
        raise OSError(errno.EACCES, f"{address[0]} {REFUSED}")
    return socket.socket(family, kind, protocol)


def mirrored(url: str, mirror: Mapping[str, str]) -> str:
    """The URL with the longest prefix that ``mirror`` names replaced; one named '' is put before every URL."""
    fitting = [prefix for prefix in mirror if url.startswith(prefix)]
    if not fitting:
        return url
    prefix = max(fitting, key=len)
    return mirror[prefix] + url.removeprefix(prefix)
