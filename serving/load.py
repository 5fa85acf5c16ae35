"""Load of many users: requests that come at random moments whether or not earlier ones are answered (an open loop).

A closed loop, in which a user waits for an answer, asks a slow server less and so hides how slow it is. Here latency
counts from the moment at which a question was due, waiting in this process included.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.text import one_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True, slots=True)
class Timing:
    """One request, in seconds since it was due.

    Attributes:
        first: until the first piece of the answer; None if there was none.
        last: until its end.
        tokens: generated, as the server counts them, else pieces of the stream.
        error: why there is no answer.
    """

    first: float | None
    last: float
    tokens: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """What a number of users saw; times in seconds, rates a second.

    Attributes:
        users: how many ask.
        asked, answered: requests.
        offered, served: requests due and answered; the latter over the time until the last answer, if that is longer.
        tokens_per_second: generated, of all users together.
        first_p50, first_p99: time to the first piece of an answer.
        p50, p90, p99: time to its end.
        failed: requests without an answer.
        keeps_up: the backlog did not grow: the last quarter of the answers waited less than twice as long as the first.
    """

    users: int
    asked: int
    answered: int
    failed: int
    offered: float
    served: float
    tokens_per_second: float
    first_p50: float | None
    first_p99: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    keeps_up: bool
    errors: list[str]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def due_moments(users: int, every: float, seconds: float, seed: int) -> list[float]:
    """Seconds from the start at which questions are due: a Poisson process of ``users / every`` a second.

    At least one a user, so that a short measurement of few users has answers at all.
    """
    rng = random.Random(seed)
    moments: list[float] = []
    at = 0.0
    while True:
        at += rng.expovariate(users / every)
        if at >= seconds and len(moments) >= users:
            return moments
        moments.append(min(at, seconds))


def measure_load(
    url: str, model: str, bodies: Sequence[dict[str, Any]], levels: Sequence[int], *, every: float, seconds: float,
    timeout: float, seed: int,
) -> list[Level]:  # fmt: skip
    """Ask for ``seconds`` at every level, one level after the other.

    Args:
        url: up to and with ``/v1``.
        bodies: chat completions without their model; taken by turns.
        levels: numbers of users.
        every: mean seconds between two questions of a user.
        timeout: seconds after which an answer is given up.
    """
    return asyncio.run(_measure(url, model, bodies, levels, every, seconds, timeout, seed))


async def _measure(
    url: str, model: str, bodies: Sequence[dict[str, Any]], levels: Sequence[int], every: float, seconds: float,
    timeout: float, seed: int,
) -> list[Level]:  # fmt: skip
    from openai import AsyncOpenAI

    key = os.environ.get("OPENAI_API_KEY") or "none"
    async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout) as client:
        options = await _usage_options(client, model, bodies[0])
        found = []
        for users in levels:
            moments = due_moments(users, every, seconds, seed + users)
            start = time.monotonic()
            asks = [
                _ask(client, {**bodies[number % len(bodies)], **options, "model": model}, start + due, timeout)
                for number, due in enumerate(moments)
            ]
            timings = await asyncio.gather(*asks)
            found.append(summary(users, timings, moments, max(time.monotonic() - start, seconds), seconds))
        return found


async def _pieces(client: AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[Any]:
    create: Any = client.chat.completions.create
    async for piece in await create(**body, stream=True):
        yield piece


async def _usage_options(client: AsyncOpenAI, model: str, body: dict[str, Any]) -> dict[str, Any]:
    """The option that makes a stream end with its number of tokens, where the server takes it; warms the server up."""
    import openai

    asked = {"stream_options": {"include_usage": True}}
    try:
        async for _ in _pieces(client, {**body, **asked, "model": model}):
            pass
    except (openai.BadRequestError, openai.UnprocessableEntityError):
        return {}  # `transformers serve` refuses it, and counts anyway
    return asked


async def _ask(client: AsyncOpenAI, body: dict[str, Any], due: float, timeout: float) -> Timing:
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    first, pieces, counted = None, 0, None
    try:
        async with asyncio.timeout(timeout):
            async for chunk in _pieces(client, body):
                if chunk.choices and chunk.choices[0].delta.content:
                    pieces += 1
                    first = time.monotonic() - due if first is None else first
                if chunk.usage is not None:
                    counted = chunk.usage.completion_tokens
    except Exception as error:  # noqa: BLE001 - while a stream is read, those of httpx or httpx2, by openai's version
        reason = one_line(str(error), 200) or type(error).__name__
        return Timing(first, time.monotonic() - due, pieces, reason)
    return Timing(first, time.monotonic() - due, pieces if counted is None else counted)


def summary(users: int, timings: Sequence[Timing], moments: Sequence[float], took: float, seconds: float) -> Level:
    """One level's figures; ``timings`` are in the order of ``moments``."""
    good = [timing for timing in timings if timing.error is None]
    lasts = np.array([timing.last for timing in good])
    firsts = np.array([timing.first for timing in good if timing.first is not None])
    quarter = max(1, len(lasts) // 4)
    keeps_up = len(good) == len(timings) and (
        len(lasts) < 8 or bool(np.median(lasts[-quarter:]) < 2 * np.median(lasts[:quarter]) + 0.05)
    )

    def percentile(values: Any, share: float) -> float | None:
        return float(np.percentile(values, share)) if len(values) else None

    return Level(
        users=users, asked=len(timings), answered=len(good), failed=len(timings) - len(good),
        offered=len(moments) / max(seconds, 1e-9), served=len(good) / max(took, 1e-9),
        tokens_per_second=sum(timing.tokens for timing in good) / max(took, 1e-9),
        first_p50=percentile(firsts, 50), first_p99=percentile(firsts, 99),
        p50=percentile(lasts, 50), p90=percentile(lasts, 90), p99=percentile(lasts, 99),
        keeps_up=keeps_up, errors=sorted({str(timing.error) for timing in timings if timing.error})[:3],
    )  # fmt: skip
