"""Who may ask, how often, and how many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator

from serving.guard.policy import Key, Policy
from serving.guard.request import RefusedError


def new_key() -> tuple[str, str]:
    """A new key and its sha256; only the latter is written anywhere."""
    key = "wk-" + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


class Client:
    """A key in use.

    Attributes:
        name: of the key; ``anyone`` without keys.
        running: its requests now.
    """

    def __init__(self, name: str, key: Key | None) -> None:
        self.name, self._key, self.running = name, key, 0
        self._tokens = key.per_minute if key else 0.0
        self._filled = time.monotonic()

    def enter(self) -> None:
        """Take one request off what the key may ask in a minute.

        Raises:
            RefusedError: 429.
        """
        if self._key is None:
            return
        rate = self._key.per_minute / 60
        now = time.monotonic()
        self._tokens = min(max(self._key.per_minute, 1.0), self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self.running >= self._key.concurrent:
            raise RefusedError(429, "rate_limit", "Too many requests of this key are running", retry_after=1)
        if self._tokens < 1:
            raise RefusedError(
                429, "rate_limit", "Too many requests of this key", retry_after=(1 - self._tokens) / rate
            )
        self._tokens -= 1


class Access:
    """The keys of a policy."""

    def __init__(self, policy: Policy) -> None:
        self._clients = {key.sha256: Client(key.name, key) for key in policy.keys}
        self._anyone = Client("anyone", None)

    def client(self, authorization: str | None) -> Client:
        """Who sends this ``Authorization`` header.

        Raises:
            RefusedError: 401.
        """
        if not self._clients:
            return self._anyone
        scheme, _, key = (authorization or "").partition(" ")
        # The digest is looked up, not compared letter by letter: how long it takes says nothing about a key.
        found = self._clients.get(hashlib.sha256(key.strip().encode("utf-8", "replace")).hexdigest())
        if scheme.lower() != "bearer" or found is None:
            raise RefusedError(401, "invalid_api_key", "The API key is missing or unknown")
        return found


class Gate:
    """At most ``concurrent`` requests at a time; ``queue`` more wait ``timeout`` seconds for their turn.

    Attributes:
        running, waiting: now.
    """

    def __init__(self, concurrent: int, queue: int, timeout: float) -> None:
        self._most, self._queue, self._timeout = concurrent, queue, timeout
        self.running = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiters)

    @contextlib.asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Hold a place.

        Raises:
            RefusedError: 503, too many wait, or it waited too long.
        """
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self.running < self._most and not self._waiters:
            self.running += 1
            return
        if len(self._waiters) >= self._queue:
            raise RefusedError(503, "busy", "Too many requests are waiting", retry_after=2)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            async with asyncio.timeout(self._timeout):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave()  # its turn had come at the same moment
            elif turn in self._waiters:
                self._waiters.remove(turn)
            if isinstance(error, TimeoutError):
                raise RefusedError(503, "busy", "Waited too long", retry_after=2) from None
            raise

    def _leave(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)  # the place is handed on
                return
        self.running -= 1
