"""Processes of this machine."""

from __future__ import annotations

import functools
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from curate.engines.pool import PREFETCH, Function, Item, Pool, Result
from curate.engines.worker import Caller, ThisProcess, Worker, WorkLost, one_by_one


class LocalPool(Pool):
    """Processes of this machine; one worker means this process, which a decoder that crashes takes with it."""

    def __init__(self, workers: int) -> None:
        super().__init__(PREFETCH * workers if workers > 1 else 1)
        # A thread for each process, which waits for its results and starts it again: the exit code of a process says
        # why it died, which ``concurrent.futures`` does not tell.
        self._threads = ThreadPoolExecutor(workers)
        self._all: list[Worker] = [Worker() for _ in range(workers)] if workers > 1 else []
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._closed = threading.Event()

    @functools.cached_property
    def models(self) -> Pool:
        """This process, where torch and onnxruntime use all CPUs, or the GPU."""
        return LocalPool(1)

    def close(self) -> None:
        """End the processes."""
        self._closed.set()
        for worker in self._all:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Future[list[Any]] | None:
        return self._threads.submit(self._work, function, batch) if self._all else None

    def _results(
        self, function: Function[Item, Result], batch: list[Item], future: Future[list[Any]] | None
    ) -> list[Any]:
        return self._done(ThisProcess(), function, batch) if future is None else future.result()

    def _work(self, function: Function[Item, Result], batch: list[Item]) -> list[Any]:
        worker = self._idle.get()
        try:
            return self._done(worker, function, batch)
        finally:
            self._idle.put(worker)

    def _done(self, caller: Caller, function: Function[Item, Result], batch: list[Item]) -> list[Any]:
        try:
            results = caller.call(function, batch)
        except WorkLost as lost:
            again = one_by_one(caller, function, batch, self._patience, self._closed.wait, crashed=lost.fault)
            return list(again)
        self._patience.succeeded()
        return results
