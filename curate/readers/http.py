"""Many images at once: an event loop in a thread of its own, in front of journal and store.

The bytes of an answer as they arrive: a file that may have to go on after a break, and what it holds.

One attempt to get one image: connect, follow redirects, go on after a break.

Which network addresses a URL of a dataset may lead to.

The check is made on the address that the socket is about to connect to, for every connection of every
redirect: a name that resolves differently the second time (DNS rebinding) gains nothing.

What became of each URL, one JSON line each, appended as it happens: a killed run goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import os
import re
import socket
import struct
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from PIL import Image
from yarl import URL

from curate.readers.images import ImageStore, content_path, suffix_of
from curate.recipe import MeasureSettings, RemoteSettings
from winnow.errors import UserError
from winnow.files import digest_of, sha256_bytes
from winnow.hash_index import HashIndex
from winnow.http import TRANSIENT, backoff, retry_after
from winnow.images import unavailable

_CLASSES = {404: "remote_404", 410: "remote_404", **dict.fromkeys((401, 402, 403, 407, 451), "remote_denied")}


class FetchError(Exception):
    """An attempt that brought no image.

    Attributes:
        kind: class of ``winnow.images``.
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


class Journal:
    """Lines ``{"url", "path"}`` or ``{"url", "error", "detail"}`` and where each stands (24 bytes a URL).

    Lines of an earlier run with ``"again": true`` do not count: those URLs are tried again. Usable from
    several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = HashIndex()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._end = self._load()

    def _load(self) -> int:
        end = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):  # torn by a kill
                    os.truncate(self._path, end)
                    break
                entry = _parsed(line)
                if entry is not None and not entry.get("again"):
                    self._index.put(entry["url"], end)
                end += len(line)
        return end

    def find(self, url: str) -> dict[str, Any] | None:
        """The line of a URL, or None."""
        with self._lock:
            offset = self._index.get(url)
            if offset is None:
                return None
            line = b""
            while not line.endswith(b"\n") and (more := os.pread(self._file, 4096, offset + len(line))):
                line += more
                line = line[: line.index(b"\n") + 1] if b"\n" in line else line
        entry = _parsed(line)
        return entry if entry is not None and entry["url"] == url else None

    def add(self, entry: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            UserError: it cannot be written.
        """
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            try:
                os.write(self._file, line)
            except OSError as error:
                raise UserError(f"{self._path}: cannot be written ({error.strerror or error})") from error
            self._index.put(entry["url"], self._end)
            self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("url"), str) else None


REFUSED = "is not a public address"
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
        if found.is_site_local or not all(is_public(str(one)) for one in inner if one is not None):
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
        raise refused(response.status, response.headers)
    part.begin(response.status, response.headers)
    async for data in response.content.iter_chunked(_CHUNK):
        part.add(data)


def _unreachable(error: aiohttp.ClientConnectorError) -> FetchError:
    if REFUSED in str(error):
        return FetchError("remote_private", str(error.os_error)[:200])
    detail = " ".join(str(error).split())[:200]
    unknown = isinstance(error.os_error, socket.gaierror) and error.os_error.errno == socket.EAI_NONAME
    return FetchError("remote_unavailable", detail, retry=not unknown, no_answer=True)


_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_ENOUGH = 32  # bytes that tell an image from a page
_FORMATS = {
    ".jpg": "JPEG", ".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".jp2": "JPEG2000",
    ".j2k": "JPEG2000", ".qoi": "QOI", ".avif": "AVIF", ".ppm": "PPM",
}  # fmt: skip


class Part:
    """A growing file.

    Attributes:
        size: bytes so far.
        validator: ETag or date by which the server knows whether the rest still fits, None if it gave none.
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
        with self._told():
            self._handle = FileIO(self.path, "ab" if self.size else "wb")
        try:
            yield
        finally:
            self._handle.close()

    def clear(self) -> None:
        """Begin anew."""
        if self._handle is not None and not self._handle.closed:
            with self._told():
                self._handle.truncate(0)
        self.size, self.validator, self._total, self._start = 0, None, None, b""

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Trouble with the file, unlike trouble with the network, ends the run."""
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Prepare for the body of a 200 or 206.

        Raises:
            FetchError: it would be too large, or it is another range than was asked for.
        """
        if status == 206:
            found = _RANGE.fullmatch(headers.get("Content-Range", ""))
            if not found or int(found[1]) != self.size:
                self.clear()
                raise FetchError("remote_unavailable", "another range than was asked for", retry=True)
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
            FetchError: too many, or they do not begin as an image does.
            UserError: they cannot be written.
        """
        if self.size + len(data) > self._max_bytes:
            raise FetchError("remote_too_large", f"more than {self._max_bytes:,} bytes")
        if self._handle is not None:
            with self._told():
                self._handle.write(data)
        self.size += len(data)
        if len(self._start) < _ENOUGH:
            self._start += data[:_ENOUGH]
            if len(self._start) >= _ENOUGH:
                self._check_start()

    def finish(self, max_pixels: int) -> bytes:
        """All bytes, once the body has ended.

        Raises:
            FetchError: too short, no image, or too many pixels.
        """
        if self._total is not None and self.size < self._total:
            raise FetchError("remote_unavailable", f"ended at {self.size:,} of {self._total:,} bytes", retry=True)
        self._check_start()
        pixels = _pixels(self.path, suffix_of(self._start))
        if pixels > max_pixels:
            raise FetchError("remote_too_large", f"{pixels:,} pixels, the cap is {max_pixels:,}")
        return self.path.read_bytes()

    def _check_start(self) -> None:
        if not suffix_of(self._start):
            raise FetchError("remote_not_an_image", f"begins with {self._start[:12]!r}" if self._start else "0 bytes")


def _pixels(path: Path, suffix: str) -> int:
    """Pixels by the header; 0 where it cannot be read, which preflight will say better."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=[_FORMATS[suffix]]) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        return 1 << 62
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, RuntimeError, struct.error):
        return 0


_AGENT = "winnow/0.2 (dataset curation)"
_SILENT = 10  # connections in a row that a host does not answer before the others to it are given up
_HEADERS = {"User-Agent": _AGENT, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}


@dataclass
class _Host:
    """What is known of a host: its places, when it may be asked again, connections in a row without an answer."""

    slots: asyncio.Semaphore
    not_before: float = 0.0
    silence: int = 0


class RemoteImages:
    """Fetches URLs into a store, as a context manager; ``curate.readers.images.Fetcher``.

    Attributes:
        counts: ``fetched``, ``known`` (from an earlier run) and class → number of failed URLs, of this run.
    """

    def __init__(
        self, store: ImageStore, settings: RemoteSettings, caps: MeasureSettings, counts: Counter[str] | None = None
    ) -> None:
        """``caps`` are used where ``settings`` has none; ``counts`` is counted on if given."""
        self._store, self._settings = store, settings
        self._max_bytes = settings.max_bytes or caps.max_bytes
        self._max_pixels = settings.max_pixels or caps.max_pixels
        self._caps = digest_of([self._max_bytes, self._max_pixels, settings.allow_private])[:8]
        self._journal = Journal(store.folder / "images" / "remote.jsonl")
        self._running: dict[str, Future[str]] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch images", daemon=True)
        self._hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(asyncio.Semaphore(settings.per_host)))
        self.counts = Counter[str]() if counts is None else counts

    def __enter__(self) -> RemoteImages:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._journal.close()

    def submit(self, url: str) -> Future[str]:
        """A path in the store, or the notation of ``winnow.images``, in the future."""
        target = mirrored(url, self._settings.mirror)
        with self._lock:
            running = self._running.get(target)
            if running is not None:
                return running
            known = self._known(target)
            if known is not None:
                done: Future[str] = Future()
                done.set_result(known)
                return done
            started = asyncio.run_coroutine_threadsafe(self._fetch(target), self._loop)
            self._running[target] = started
        started.add_done_callback(lambda _: self._forget(target))
        return started

    def _forget(self, target: str) -> None:
        with self._lock:
            self._running.pop(target, None)

    def _known(self, target: str) -> str | None:
        entry = self._journal.find(target)
        if entry is None:
            return None
        path = entry.get("path")
        if isinstance(path, str):
            if not (self._store.folder / path).is_file():
                return None
            self.counts["known"] += 1
            return path
        if entry.get("caps") != self._caps and entry["error"] in ("remote_too_large", "remote_private"):
            return None
        return unavailable(entry["error"], target)

    async def _open(self) -> None:
        settings = self._settings
        self._slots = asyncio.Semaphore(settings.concurrency)
        connector = aiohttp.TCPConnector(
            limit=settings.concurrency,
            socket_factory=None if settings.allow_private else checked_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout, sock_read=settings.timeout),
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def _close(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def _fetch(self, url: str) -> str:
        name = sha256_bytes(url.encode("utf-8", "surrogatepass"))
        part = Part(self._store.unfinished(name), self._max_bytes)
        try:
            data = await self._whole(url, part)
        except FetchError as error:
            again = {"again": True} if error.kind == "remote_unavailable" else {}
            entry = {"url": url, "error": error.kind, "detail": error.detail, "caps": self._caps, **again}
            self._journal.add(entry)
            self.counts[error.kind] += 1
            return unavailable(error.kind, url)
        finally:
            part.path.unlink(missing_ok=True)
        path = content_path(data)
        self._store.put(path, data)
        self._journal.add({"url": url, "path": path})
        self.counts["fetched"] += 1
        return path

    async def _whole(self, url: str, part: Part) -> bytes:
        """The body, in as many attempts as are worth it."""
        host = self._hosts[parsed(url).authority]
        for number in range(self._settings.attempts):
            await asyncio.sleep(host.not_before - time.monotonic())
            try:
                # The host's own limit first: a slow host must not hold the places of the others.
                async with host.slots, self._slots:
                    if host.silence >= _SILENT:
                        given_up = f"its host did not answer {_SILENT} times in a row"
                        raise FetchError("remote_unavailable", given_up, no_answer=True)
                    await attempt(self._session, url, part, self._settings)
                    host.silence = 0
                    return part.finish(self._max_pixels)
            except FetchError as error:
                host.silence = host.silence + 1 if error.no_answer else 0
                settings = self._settings
                if error.wait is not None:
                    if error.wait > settings.max_wait:
                        raise FetchError(error.kind, f"{error.detail}, asks to wait {error.wait:.0f} s") from None
                    host.not_before = max(host.not_before, time.monotonic() + error.wait)
                if not error.retry or number + 1 == self._settings.attempts:
                    raise
                wait = backoff(number + 1, base=settings.backoff, longest=settings.max_wait, asked=error.wait)
                await asyncio.sleep(wait)
        raise AssertionError("attempts is at least 1")


def mirrored(url: str, mirror: Mapping[str, str]) -> str:
    """The URL with the longest prefix that ``mirror`` names replaced; one named '' is put before every URL."""
    fitting = [prefix for prefix in mirror if url.startswith(prefix)]
    if not fitting:
        return url
    prefix = max(fitting, key=len)
    return mirror[prefix] + url.removeprefix(prefix)
