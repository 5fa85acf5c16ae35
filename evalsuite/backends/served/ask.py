"""Ask a server many questions at a time: as many as it answers well, again where that may help."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import TYPE_CHECKING

from evalsuite.backends import Reply, Request
from evalsuite.backends.rate import Pace
from evalsuite.backends.served.asker import Asker, client_of
from evalsuite.backends.served.window import first_window
from evalsuite.recipe import ServerSettings

if TYPE_CHECKING:
    pass

_PART_ROWS, _PART_SECONDS = 256, 5.0


def ask_all(settings: ServerSettings, model: str, requests: Sequence[Request]) -> Iterator[list[Reply]]:
    """Replies in parts as they come, failed ones included; after Ctrl-C those that had come, then the interrupt.

    Raises:
        UserError: the server refuses the key, the model or the address, or stopped answering.
    """
    come: list[Reply] = []
    parts = _parts(settings, model, requests, come)

    async def following() -> list[Reply]:
        return await anext(parts)

    with asyncio.Runner() as runner:  # closing it cancels what still runs and closes the generator
        try:
            while True:
                try:
                    yield runner.run(following())
                except StopAsyncIteration:
                    return
        except KeyboardInterrupt:
            if come:
                yield come
            raise


async def _parts(
    settings: ServerSettings, model: str, requests: Sequence[Request], come: list[Reply]
) -> AsyncGenerator[list[Reply], None]:
    """Parts of replies; those not yet handed out are in ``come``."""
    waiting = deque(requests)
    pace = Pace(first_window(settings.max_concurrency))
    running: set[asyncio.Task[Reply]] = set()
    written, broken = time.monotonic(), None
    async with client_of(settings) as client:
        asker = Asker(client, settings, model, pace, random.Random(settings.seed))
        try:
            while waiting or running:
                while waiting and len(running) < pace.window.limit:
                    running.add(asyncio.create_task(asker.ask(waiting.popleft())))
                done, running = await asyncio.wait(running, timeout=_PART_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if failure := task.exception():
                        broken = failure
                    else:
                        come.append(task.result())
                overdue = time.monotonic() - written > _PART_SECONDS
                if come and (overdue or broken or len(come) >= _PART_ROWS or not (waiting or running)):
                    part, written = come.copy(), time.monotonic()
                    come.clear()
                    yield part
                if broken:
                    raise broken
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
