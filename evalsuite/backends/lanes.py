"""Work ahead of the model, and several units at a time on a CPU."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 2


def ahead(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """``map(work, items)``, computed in a thread a little ahead of the consumer."""
    done: queue.Queue[Any] = queue.Queue(maxsize=_AHEAD)
    stopped = threading.Event()
    end = object()

    def put(value: Any) -> None:
        while not stopped.is_set():
            try:
                done.put(value, timeout=0.2)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                put((work(item), None))
            put((end, None))
        except BaseException as error:  # noqa: BLE001  raised again in the consumer
            put((end, error))

    worker = threading.Thread(target=produce, daemon=True)
    worker.start()
    try:
        while True:
            value, error = done.get()
            if error is not None:
                raise error
            if value is end:
                return
            yield value
    finally:
        stopped.set()
        worker.join()


def in_lanes(
    items: Iterable[Item], work: Callable[[Item], Result], *, lanes: int, stop: threading.Event
) -> Iterator[Result]:
    """``map(work, items)`` in order, by ``lanes`` threads that compute with one CPU thread each.

    ``stop`` is set when the consumer leaves early, so that ``work`` can end soon.

    Small matrices keep several cores busier this way than when all cores share each of them:
    nobody waits at the end of every operation. With one lane it is a plain map.
    """
    if lanes == 1:
        yield from map(work, items)
        return
    import torch

    running: deque[Future[Result]] = deque()
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > lanes:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            stop.set()
            for future in running:
                future.cancel()
            torch.set_num_threads(threads)
