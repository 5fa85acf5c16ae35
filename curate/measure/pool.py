"""Where work on images runs: processes of this machine, or a Ray cluster. The results are the same.

Batches go in, results come out in the same order, and no batch is lost. On a cluster every machine needs Winnow and the
image root at the same path (a shared file system); rows and Parquet parts are written by the machine that runs the
command. ``RAY_ADDRESS`` names the cluster; without it, Ray starts one here.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import parent_process
from typing import Any, Literal, Self, TypeVar

from winnow.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Function = Callable[[list[Item]], list[Result]]
Waiting = collections.deque[tuple[list[Item], Any]]  # batches with the futures of their results
_PREFETCH = 4  # batches for each worker
_CONNECT_SECONDS = 10
_is_worker = False  # whether this process is one that a pool can lose


def open_pool(engine: Literal["local", "ray"], workers: int | None) -> Pool:
    """Workers, for a ``with`` statement.

    Args:
        workers: processes at most; None is one for each CPU (here at least two), or all of a cluster's.

    Raises:
        UserError: Ray is asked for and not installed, or cannot be reached.
    """
    # Two at least: a decoder that crashes must not take this process with it.
    return RayPool(workers) if engine == "ray" else LocalPool(workers or max(cpu_count(), 2))


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class Pool(abc.ABC):
    """A context manager over some workers."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(
        self, function: Function[Item, Result], batches: Iterable[list[Item]], crashed: Callable[[Item], Result]
    ) -> Iterator[list[Result]]:
        """Results of each batch, in order; a few batches are prefetched.

        Args:
            function: picklable, one result for each item.
            batches: picklable items.
            crashed: the result for an item that kills its process.
        """
        waiting: Waiting[Item] = collections.deque()
        for batch in batches:
            waiting.append((batch, self._submit(function, batch)))
            if len(waiting) >= _PREFETCH * self._workers:
                yield self._first(waiting, function, crashed)
        while waiting:
            yield self._first(waiting, function, crashed)

    @abc.abstractmethod
    def close(self) -> None:
        """End the workers."""

    @abc.abstractmethod
    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Any:
        """Start a batch; gives its future."""

    @abc.abstractmethod
    def _first(
        self, waiting: Waiting[Item], function: Function[Item, Result], crashed: Callable[[Item], Result]
    ) -> list[Result]:
        """Take the first batch and wait for its results."""


class LocalPool(Pool):
    """Processes of this machine; one worker means this process.

    A worker that dies (a decoder that crashes or hangs, memory that runs out) costs the one item that killed
    it: its batch is repeated item by item. One worker has no such protection.
    """

    _executor: ProcessPoolExecutor | None = None

    def map(
        self, function: Function[Item, Result], batches: Iterable[list[Item]], crashed: Callable[[Item], Result]
    ) -> Iterator[list[Result]]:
        """As ``Pool.map``."""
        return map(function, batches) if self._workers == 1 else super().map(function, batches, crashed)

    def close(self) -> None:
        """End the processes."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Future[list[Result]]:
        if self._executor is None:
            self._executor = _executor(self._workers)
        try:
            return self._executor.submit(function, batch)
        except BrokenProcessPool as error:
            failed: Future[list[Result]] = Future()
            failed.set_exception(error)
            return failed

    def _first(
        self, waiting: Waiting[Item], function: Function[Item, Result], crashed: Callable[[Item], Result]
    ) -> list[Result]:
        batch, future = waiting.popleft()
        try:
            results: list[Result] = future.result()
        except BrokenProcessPool:
            self.close()
            results = list(_one_by_one(function, batch, crashed))
            for at, (later, old) in enumerate(waiting):
                if old.cancelled() or not old.done() or old.exception() is not None:
                    waiting[at] = (later, self._submit(function, later))
        return results


def _one_by_one(
    function: Function[Item, Result], batch: list[Item], crashed: Callable[[Item], Result]
) -> Iterator[Result]:
    """Each item's result from a process that works on nothing else, or ``crashed(item)``."""
    waiting = collections.deque(batch)
    while waiting:
        with _executor(1) as executor:
            try:
                executor.submit(os.getpid).result()
            except BrokenProcessPool as error:
                raise UserError(
                    "worker processes cannot be started; set workers: 1"
                    " (a script that calls Winnow must do so below `if __name__ == '__main__':`)"
                ) from error
            try:
                while waiting:
                    yield from executor.submit(function, [waiting[0]]).result()
                    waiting.popleft()
            except BrokenProcessPool:
                yield crashed(waiting.popleft())


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Kill this worker if the block takes longer, even inside a C library; in the main process it does nothing.

    To the pool that is a crash like any other, so an endless decode costs its image and not the run.
    """
    if not _is_worker or not hasattr(signal, "alarm"):
        yield
        return
    signal.alarm(seconds)  # whose default action ends the process
    try:
        yield
    finally:
        signal.alarm(0)


def _executor(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the parent may hold threads of torch, arrow and onnxruntime.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)


def become_worker() -> None:
    """This process may be killed by ``time_limit``, and uses one thread."""
    global _is_worker
    _is_worker = True
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read when numpy is imported, which is later


def _start_worker() -> None:
    """One thread, no remarks, Ctrl-C left to the parent, and an end when the parent is gone, however it went."""
    become_worker()
    # Only C libraries write there (libtiff on a damaged file); what Python raises goes to the parent.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


class RayPool(Pool):
    """The workers of a Ray cluster.

    Args:
        workers: CPUs to use at most when Ray is started here; a cluster that runs already has its own number.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, workers: int | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError("engine: ray needs Ray; install it with: pip install 'winnow-vlm[ray]'") from error
        self._ray: Any = ray
        self._started = not ray.is_initialized()
        if self._started:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what newer versions do anyway
            address = os.environ.get("RAY_ADDRESS")
            try:
                _reach(address)
                # "local": without an address Ray would join whatever cluster was last started on this machine.
                ray.init(
                    address or "local", num_cpus=None if address else workers, log_to_driver=False,
                    include_dashboard=None if address else False,
                )  # fmt: skip
            except (OSError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"Ray cannot be reached or started ({error}); check RAY_ADDRESS, or unset it to use this machine"
                ) from error
        super().__init__(int(self._ray.cluster_resources().get("CPU", 1)))
        self._task: Any = ray.remote(max_retries=0)(_in_worker)

    def close(self) -> None:
        """End Ray if it was started here."""
        if self._started:
            self._ray.shutdown()

    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Any:
        return self._task.remote(function, batch)

    def _first(
        self, waiting: Waiting[Item], function: Function[Item, Result], crashed: Callable[[Item], Result]
    ) -> list[Result]:
        batch, future = waiting.popleft()
        found = self._result(future)
        if found is None:  # its worker died, or its machine: each item again, alone
            alone = [self._result(self._submit(function, [item])) for item in batch]
            return [crashed(item) if result is None else result[0] for item, result in zip(batch, alone, strict=True)]
        return found

    def _result(self, future: Any) -> list[Any] | None:
        """What the task returned; None if its process died."""
        errors = self._ray.exceptions
        try:
            return list(self._ray.get(future))
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            return None


def _reach(address: str | None) -> None:
    """Raise OSError if nothing listens at ``host:port``: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _in_worker(function: Function[Item, Result], batch: list[Item]) -> list[Result]:
    become_worker()
    return function(batch)
