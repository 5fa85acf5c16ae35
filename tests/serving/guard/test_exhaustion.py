"""Requests that cost the guard more than they cost their sender."""

from __future__ import annotations

import resource
import time

from tests.serving.guard.live import guarded, policy


def test_a_body_of_millions_of_values_is_not_parsed():
    body = b'{"model":"m","messages":[{"role":"user","content":"?"}],"stop":[' + b"[]," * 6_000_000 + b"[]]}"
    with guarded(policy()) as (client, upstream, _):
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.json()["error"]["code"] == "body_too_large" and upstream.seen == []
        assert time.process_time() - started < 3
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
