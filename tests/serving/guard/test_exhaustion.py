"""Requests that cost the guard more than they cost their sender."""

from __future__ import annotations

import resource
import socket
import time

import pytest

from serving.guard.access import new_key
from tests.serving.guard.live import guarded, policy


def test_a_body_of_millions_of_values_is_not_parsed():
    body = b'{"model":"m","messages":[{"role":"user","content":"?"}],"stop":[' + b"[]," * 6_000_000 + b"[]]}"
    with guarded(policy()) as (client, upstream, _):
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.json()["error"]["code"] == "body_too_large" and upstream.seen == []
        assert time.process_time() - started < 3
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/nothing", b"/health"])
def test_a_body_that_nobody_reads_keeps_no_connection(monkeypatch, path):
    """Without a key, 768 such connections, a byte every half minute each, shut everybody else out."""
    monkeypatch.setattr("serving.guard.server._HEAD_SECONDS", 0.2)
    rules = policy(keys=[{"name": "anna", "sha256": new_key()[1]}])
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n{"
    with guarded(rules) as (client, _, _):
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(head % path)
            assert connection.recv(65536).startswith(b"HTTP/1.1 40")
            deadline = time.monotonic() + 60
            with pytest.raises(OSError):
                while time.monotonic() < deadline:
                    time.sleep(0.1)
                    connection.sendall(b" ")
            assert time.monotonic() < deadline


def test_a_path_with_a_slash_leads_to_no_other_host():
    with guarded(policy()) as (client, _, guard):
        assert client.get("/v1/models/").status_code == 404
        assert not guard.app().router.redirect_slashes
