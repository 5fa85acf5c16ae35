"""What a guard costs: added latency, throughput beside the same upstream alone, and streams at a time."""

from __future__ import annotations

import asyncio
import base64
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
from PIL import Image, ImageFilter

from serving.guard.policy import Policy
from serving.guard.trial import servers
from serving.guard.trial.servers import Served

_WARM = 10
STREAMS = 200
_LONG = "A stream of words that goes on for a while, so that many of them run at the same time. " * 4


@dataclass(frozen=True)
class Added:
    """Milliseconds that the guard adds: its requests beside the upstream's, taken by turns.

    Attributes:
        median, p99: of the differences between a request through the guard and the median one without it.
        cpu: milliseconds of a processor that the guard and its workers took for a request, whatever else ran.
        goal: the most that the median may be.
    """

    name: str
    requests: int
    alone: float
    median: float
    p99: float
    cpu: float
    goal: float


@dataclass(frozen=True)
class Overhead:
    """What was measured.

    Attributes:
        throughput: requests per second at 16 at a time: through the guard, alone.
        streams: of ``STREAMS`` at a time, those that arrived whole.
    """

    added: list[Added]
    throughput: tuple[float, float]
    streams: int


def measure(policy: Policy, requests: int = 200) -> Overhead:
    """Measure with the policy as it is, but without text in images, whose reading is counted apart.

    Raises:
        UserError: a server does not start.
    """
    plain = servers.policy_for_cases(policy)
    without = plain.model_copy(update={"images": plain.images.model_copy(update={"ocr": False})})
    with tempfile.TemporaryDirectory(prefix="guard-test-") as made:
        folder = Path(made)
        with servers.upstream(folder, {"paced": _LONG}) as behind, servers.guard(folder, without, behind) as guard:
            return asyncio.run(_measured(behind, guard, requests))


async def _measured(behind: str, guard: Served, requests: int) -> Overhead:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:
        old = _photo(0)
        kinds: list[tuple[str, float, Callable[[int], bytes], int]] = [
            ("text", 5, lambda at: _body(f"What is in picture {at}?"), requests),
            ("an image seen before", 5, lambda at: _body(f"What is it? {at}", old), requests),
            ("a new 640-pixel image", 60, lambda at: _body("What is it?", _photo(at + 1)), requests // 4),
        ]
        added = [await _added(session, behind, guard, *kind) for kind in kinds]
        through = await _throughput(session, guard.url, requests * 2)
        return Overhead(
            added, (through, await _throughput(session, behind, requests * 2)), await _streams(session, guard.url)
        )


async def _added(
    session: aiohttp.ClientSession, behind: str, guard: Served, name: str, goal: float, body: Callable[[int], bytes],
    requests: int,
) -> Added:  # fmt: skip
    alone: list[float] = []
    through: list[float] = []
    cpu = 0.0
    for at in range(requests + _WARM):
        if at == _WARM:
            cpu = guard.cpu_seconds()
        data = body(at)
        for address, times in ((behind, alone), (guard.url, through)):
            started = time.perf_counter()
            await _post(session, address, data)
            times.append((time.perf_counter() - started) * 1000)
    spent = (guard.cpu_seconds() - cpu) * 1000 / requests
    base = statistics.median(alone[_WARM:])
    differences = sorted(value - base for value in through[_WARM:])
    last = min(int(len(differences) * 0.99), len(differences) - 1)
    return Added(name, requests, base, statistics.median(differences), differences[last], spent, goal)


async def _throughput(session: aiohttp.ClientSession, url: str, requests: int) -> float:
    turns = asyncio.Semaphore(16)

    async def one(at: int) -> None:
        async with turns:
            await _post(session, url, _body(f"How many are there? {at}"))

    started = time.perf_counter()
    await asyncio.gather(*map(one, range(requests)))
    return requests / (time.perf_counter() - started)


async def _streams(session: aiohttp.ClientSession, url: str) -> int:
    async def one(at: int) -> bool:
        body = orjson.loads(_body(f"Tell me about it, {at}"))
        data = await _post(session, url, orjson.dumps({**body, "stream": True, "user": "paced"}))
        pieces = [orjson.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")]
        said = "".join(choice["delta"].get("content") or "" for each in pieces for choice in each.get("choices", ()))
        return said == _LONG and data.endswith(b"data: [DONE]\n\n")

    return sum(await asyncio.gather(*map(one, range(STREAMS))))


async def _post(session: aiohttp.ClientSession, url: str, data: bytes) -> bytes:
    async with session.post(
        f"{url}/chat/completions", data=data, headers={"Content-Type": "application/json"}
    ) as response:
        return await response.read()


def _body(text: str, image: bytes | None = None) -> bytes:
    content: Any = text
    if image is not None:
        address = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": address}}]
    return orjson.dumps({"model": "test", "messages": [{"role": "user", "content": content}]})


def _photo(seed: int) -> bytes:
    """A 640 × 480 JPEG about as large as one of a photograph: smoothed noise of several scales."""
    chance = np.random.default_rng(seed)
    image = Image.fromarray(chance.integers(0, 256, (480, 640, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(3))
    coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    buffer = BytesIO()
    Image.blend(image, coarse, 0.6).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
