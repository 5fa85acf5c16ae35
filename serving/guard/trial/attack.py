"""Every case of the attack set through a guard over HTTP, and what was caught."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
from scipy.stats import binomtest

from serving.guard.policy import Policy
from serving.guard.trial import servers
from serving.guard.trial.cases import UNSEEABLE, Case
from serving.guard.trial.upstream import DEFAULT

_AT_ONCE = 8


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        caught: refused, or its reply did not arrive as the upstream said it.
        status: of HTTP.
        code: of the error, '' without one.
    """

    case: Case
    caught: bool
    status: int
    code: str


@dataclass(frozen=True)
class Share:
    """``hits`` of ``of`` with Wilson's 95% interval."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound, 0–1."""
        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.hits, self.of).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hits}/{self.of} ({low:.3f}–{high:.3f})" if self.of else "–"


def attack(cases: Sequence[Case], policy: Policy) -> list[Outcome]:
    """Ask every case once without streaming and, where it has a reply, once with.

    Raises:
        UserError: a server does not start, or a request failed for another reason than the case.
    """
    replies = {case.id: case.reply for case in cases if case.reply}
    with tempfile.TemporaryDirectory(prefix="guard-test-") as made:
        folder = Path(made)
        with (
            servers.upstream(folder, replies) as behind,
            servers.guard(folder, servers.policy_for_cases(policy), behind) as guard,
        ):
            return asyncio.run(_asked(cases, guard.url))


async def _asked(cases: Sequence[Case], url: str) -> list[Outcome]:
    turns = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:

        async def one(case: Case) -> Outcome:
            messages = await asyncio.to_thread(lambda: case.messages)
            async with turns:
                found = await _once(session, url, case, messages, stream=False)
                if case.reply and found.status == 200:
                    again = await _once(session, url, case, messages, stream=True)
                    # An attack must be caught both ways, and a harmless request must pass both ways.
                    caught = found.caught and again.caught if case.attack else found.caught or again.caught
                    return Outcome(case, caught, again.status, again.code)
                return found

        return list(await asyncio.gather(*map(one, cases)))


async def _once(session: aiohttp.ClientSession, url: str, case: Case, messages: object, *, stream: bool) -> Outcome:
    body = {"model": "test", "messages": messages, "user": case.id, "stream": stream}
    async with session.post(f"{url}/chat/completions", json=body) as response:
        data = await response.read()
        status = response.status
    if status != 200:
        return Outcome(case, caught=True, status=status, code=str(orjson.loads(data)["error"]["code"]))
    return Outcome(case, caught=_said(data, stream=stream) != (case.reply or DEFAULT), status=status, code="")


def _said(data: bytes, *, stream: bool) -> str:
    if not stream:
        return str(orjson.loads(data)["choices"][0]["message"]["content"])
    events = [orjson.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Cases that were not answered for a reason that has nothing to do with them (429, 5xx)."""
    return [found for found in outcomes if found.status >= 500 or found.status in (408, 429)]


def by_kind(outcomes: Sequence[Outcome]) -> list[tuple[str, Share, Share]]:
    """Kind, recall and false alarms; then both over the kinds that rules can see, and over all kinds."""
    kinds = sorted({found.case.kind for found in outcomes}, key=lambda kind: (kind in UNSEEABLE, kind))
    rows = [(kind, *_shares([found for found in outcomes if found.case.kind == kind])) for kind in kinds]
    seeable = [found for found in outcomes if found.case.kind not in UNSEEABLE]
    return [*rows, ("all that rules can see", *_shares(seeable)), ("all", *_shares(outcomes))]


def _shares(outcomes: Sequence[Outcome]) -> tuple[Share, Share]:
    attacks = [found.caught for found in outcomes if found.case.attack]
    harmless = [found.caught for found in outcomes if not found.case.attack]
    return Share(sum(attacks), len(attacks)), Share(sum(harmless), len(harmless))
