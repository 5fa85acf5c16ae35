"""Fetch many images at once: an event loop in a thread of its own, a log of what became of each URL, and the store."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from curate.readers.images.download import (
    FetchError,
    PartialDownload,
    attempt,
    check_pixels,
    check_start,
    checked_socket,
    mirrored,
    parsed,
)
from curate.readers.images.store import ImageStore, content_path
from curate.settings.signals import MeasureSettings
from curate.settings.sources import RemoteSettings
from winnow.errors import UserError
from winnow.files import digest_of, sha256_bytes
from winnow.hash_index import HashIndex
from winnow.media.locate import is_url, unavailable
from winnow.remote.addresses import StorageError, address, is_below, is_remote
from winnow.remote.retry import backoff
from winnow.remote.storage import read


class FetchLog:
    """What became of each URL: lines ``{"url", "path"}`` or ``{"url", "error", "detail"}``, appended as it happens.

    A killed run resumes from it. In memory there are 24 bytes a URL. Lines of an earlier run with ``"again": true`` do
    not count, so those URLs are tried again. Usable from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = HashIndex()
        self._lock = threading.Lock()
        self._file: int | None = None  # made with its first line
        self._end = self._load() if path.is_file() else 0

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError as error:
                raise UserError(f"{self._path}: cannot be written ({error.strerror or error})") from error
        return self._file

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
            while not line.endswith(b"\n") and (more := os.pread(self._opened(), 4096, offset + len(line))):
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
                os.write(self._opened(), line)
            except OSError as error:
                raise UserError(f"{self._path}: cannot be written ({error.strerror or error})") from error
            self._index.put(entry["url"], self._end)
            self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("url"), str) else None


_AGENT = "winnow/0.2 (dataset curation)"
_SILENT = 10  # unanswered connections in a row after which a host is given up
_HEADERS = {"User-Agent": _AGENT, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}


@dataclass
class _Host:
    """A host: its connections, when it may be asked next, and unanswered connections in a row."""

    slots: asyncio.Semaphore
    not_before: float = 0.0
    silence: int = 0


class RemoteImages:
    """Fetches URLs into a store, as a context manager; ``curate.readers.images.store.Fetcher``.

    Attributes:
        counts: ``fetched``, ``known`` (from an earlier run) and class → number of failed URLs, of this run.
    """

    def __init__(
        self, store: ImageStore, remote: RemoteSettings | None, caps: MeasureSettings,
        counts: Counter[str] | None = None, places: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """
        Args:
            remote: None fetches nothing but what lies in ``places``.
            caps: used where ``remote`` has none.
            counts: is added to.
            places: on object storage, beside the buckets of ``remote``.
        """
        settings = remote or RemoteSettings()
        self._store, self._settings, self._fetches_urls = store, settings, remote is not None
        self._places = (*places, *settings.buckets)
        self._max_bytes = settings.max_bytes or caps.max_bytes
        self._max_pixels = settings.max_pixels or caps.max_pixels
        self._caps = digest_of([self._max_bytes, self._max_pixels, settings.allow_private])[:8]
        self._log = FetchLog(store.folder / "images" / "remote.jsonl")
        self._threads = ThreadPoolExecutor(settings.concurrency, "fetch objects")
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
        self._threads.shutdown()
        self._log.close()

    def takes(self, path: str) -> bool:
        """Whether it is a URL, or an address in one of the places."""
        return (self._fetches_urls and is_url(path)) or any(is_below(path, place) for place in self._places)

    def submit(self, url: str) -> Future[str]:
        """Start fetching; gives a path in the store, or the notation of ``winnow.media.images`` for what failed."""
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
        entry = self._log.find(target)
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
        partial = PartialDownload(self._store.unfinished(name), self._max_bytes)
        try:
            data = await (self._object(url) if is_remote(url) else self._whole(url, partial))
        except FetchError as error:
            again = {"again": True} if error.kind == "remote_unavailable" else {}
            entry = {"url": url, "error": error.kind, "detail": error.detail, "caps": self._caps, **again}
            self._log.add(entry)
            self.counts[error.kind] += 1
            return unavailable(error.kind, url)
        finally:
            partial.path.unlink(missing_ok=True)
        path = content_path(data)
        self._store.put(path, data)
        self._log.add({"url": url, "path": path})
        self.counts["fetched"] += 1
        return path

    async def _object(self, url: str) -> bytes:
        """An object's bytes; its client makes several attempts by itself."""
        place = address(url)
        store = self._hosts["/".join(place.split("/")[:3])]
        async with self._slots:
            if store.silence >= _SILENT:
                raise FetchError("remote_unavailable", f"its store did not answer {_SILENT} times in a row")
            try:
                data = await self._loop.run_in_executor(self._threads, read, place, self._max_bytes + 1)
            except StorageError as error:
                if error.kind == "credentials":
                    raise
                store.silence = store.silence + 1 if error.kind == "remote_unavailable" else 0
                raise FetchError(error.kind, str(error)) from None
        store.silence = 0
        if len(data) > self._max_bytes:
            raise FetchError("remote_too_large", f"more than {self._max_bytes:,} bytes")
        check_start(data)
        check_pixels(data, self._max_pixels)
        return data

    async def _whole(self, url: str, partial: PartialDownload) -> bytes:
        """The body, in as many attempts as are worth it."""
        host = self._hosts[parsed(url).authority]
        for number in range(self._settings.attempts):
            await asyncio.sleep(host.not_before - time.monotonic())
            try:
                # The host's own limit first: a slow host must not use up the connections of the others.
                async with host.slots, self._slots:
                    if host.silence >= _SILENT:
                        given_up = f"its host did not answer {_SILENT} times in a row"
                        raise FetchError("remote_unavailable", given_up, no_answer=True)
                    await attempt(self._session, url, partial, self._settings)
                    host.silence = 0
                    return partial.finish(self._max_pixels)
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
