"""Many images at once: an event loop in a thread of its own, in front of journal and store."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

import aiohttp

from curate.readers.images import ImageStore
from curate.reading.embedded import content_path
from curate.reading.unavailable import unavailable
from curate.remote.address import checked_socket
from curate.remote.journal import Journal
from curate.remote.part import Part
from curate.remote.request import attempt, parsed
from curate.settings import MeasureSettings, RemoteSettings
from winnow.files import digest_of, sha256_bytes
from winnow.http import FetchError, pause

_AGENT = "winnow/0.1 (dataset curation)"
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
        """A path in the store, or the notation of ``curate.reading.unavailable``, in the future."""
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
                wait = pause(number, self._settings.backoff, self._settings.max_wait)
                if error.wait is not None:
                    if error.wait > self._settings.max_wait:
                        raise FetchError(error.kind, f"{error.detail}, asks to wait {error.wait:.0f} s") from None
                    wait = max(wait, error.wait)
                    host.not_before = max(host.not_before, time.monotonic() + error.wait)
                if not error.retry or number + 1 == self._settings.attempts:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("attempts is at least 1")


def mirrored(url: str, mirror: Mapping[str, str]) -> str:
    """The URL with the longest prefix that ``mirror`` names replaced; one named '' is put before every URL."""
    fitting = [prefix for prefix in mirror if url.startswith(prefix)]
    if not fitting:
        return url
    prefix = max(fitting, key=len)
    return mirror[prefix] + url.removeprefix(prefix)
