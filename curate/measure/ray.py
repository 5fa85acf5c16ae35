"""The same pool on a Ray cluster: batches in, results out in the same order, and no batch is lost.

Every machine needs Winnow and the image root at the same path (a shared file system); rows and Parquet parts are
written by the machine that runs the command. ``RAY_ADDRESS`` names the cluster; without it, Ray starts one here.
"""

from __future__ import annotations

import collections
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from curate.measure.pool import _PREFETCH, Item, Result, become_worker
from winnow.errors import UserError

_CONNECT_SECONDS = 10


class RayPool:
    """A context manager over a Ray cluster, with the ``map`` of ``LocalPool``.

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
        self._cpus = int(self._ray.cluster_resources().get("CPU", 1))
        self._task: Any = ray.remote(max_retries=0)(_in_worker)

    def __enter__(self) -> RayPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._ray.shutdown()

    def map(
        self,
        function: Callable[[list[Item]], list[Result]],
        batches: Iterable[list[Item]],
        crashed: Callable[[Item], Result],
    ) -> Iterator[list[Result]]:
        """Results of each batch, in order; a few batches are prefetched. As ``LocalPool.map``."""
        waiting: collections.deque[tuple[list[Item], Any]] = collections.deque()
        for batch in batches:
            waiting.append((batch, self._task.remote(function, batch)))
            if len(waiting) >= _PREFETCH * self._cpus:
                yield self._first(waiting, function, crashed)
        while waiting:
            yield self._first(waiting, function, crashed)

    def _first(
        self,
        waiting: collections.deque[tuple[list[Item], Any]],
        function: Callable[[list[Item]], list[Result]],
        crashed: Callable[[Item], Result],
    ) -> list[Result]:
        batch, future = waiting.popleft()
        found = self._result(future)
        if found is None:  # its worker died, or its machine: each item again, alone
            alone = [self._result(self._task.remote(function, [item])) for item in batch]
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


def _in_worker(function: Callable[[list[Item]], list[Result]], batch: list[Item]) -> list[Result]:
    become_worker()
    return function(batch)
