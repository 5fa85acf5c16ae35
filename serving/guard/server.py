"""Run a guard on a port."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.guard.app import Guard
from serving.guard.policy import load_policy
from winnow.errors import UserError

_HEAD_SECONDS = 10.0  # for the line and headers of a request
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class BoundedHeads(H11Protocol):
    """Closes a connection whose next request has begun and does not get on, or whose last one does not end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start watching."""
        super().connection_made(transport)
        self._begun_before = True  # a new connection has one interval to send a request
        self._watch = self.loop.call_later(_HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        # A request that was answered before its body came, because of its key or path, say, keeps no place either.
        is_unread = self.conn.their_state is h11.SEND_BODY
        begun = is_idle and (self.cycle is None or is_unread or bool(self.conn.trailing_data[0]))
        if begun and self._begun_before:
            self.transport.close()
            return
        self._begun_before = begun
        self._watch = self.loop.call_later(_HEAD_SECONDS, self._look)


def config_of(guard: Guard, host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves a guard."""
    limits = guard.policy.requests
    hosts = LOCAL_HOSTS if is_loopback(host) else ("*",)
    return uvicorn.Config(
        guard.app(hosts), host=host, port=port, http=BoundedHeads, ws="none", lifespan="off", access_log=False,
        log_level="warning", server_header=False, proxy_headers=False, timeout_keep_alive=30,
        timeout_graceful_shutdown=30, backlog=1024, h11_max_incomplete_event_size=32_768,
        limit_concurrency=limits.concurrent + limits.queue + 256,
    )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(upstream: str, policy_file: Path, host: str, port: int) -> None:
    """Serve until a signal ends it.

    Raises:
        UserError: the policy or the address does not fit, a model cannot be loaded, or the port is taken.
    """
    policy = load_policy(policy_file)
    if not is_loopback(host) and not policy.keys:
        raise UserError(
            f"--host {host}: other machines would reach a guard without keys; make one with `serve guard-key NAME` and"
            " list it under `keys:`"
        )
    name = policy.upstream_key_env
    if name and name not in os.environ:
        raise UserError(f"upstream_key_env: the environment has no variable {name}")
    guard = Guard(policy, upstream, os.environ.get(name, "") if name else "")
    asyncio.run(_run(guard, host, port))


async def _run(guard: Guard, host: str, port: int) -> None:
    await guard.start()
    try:
        server = uvicorn.Server(config_of(guard, host, port))
        try:
            await server.serve()
        except SystemExit as error:
            raise UserError(f"{host}:{port}: cannot listen there; choose another --port") from error
    finally:
        await guard.stop()
