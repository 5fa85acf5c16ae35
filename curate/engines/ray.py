"""The workers of a Ray cluster.

A task that is lost with its worker, its node or the node that held its results is submitted again, by the same rules
as on one machine (``curate.engines.worker``). Ray's own retries are off: they would repeat a task whose memory does
not suffice for ever, and say nothing of why a worker died.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.engines.far import Done, Job, Sight, keep, paths_in
from curate.engines.pool import PREFETCH, Function, Item, Pool, Result
from curate.engines.worker import (
    Crashed,
    Lost,
    Unreachable,
    Worker,
    WorkLost,
    become_worker,
    seconds_before,
)
from winnow.errors import UserError

_CONNECT_SECONDS = 10
_STORED = 64  # files that are held in the object store for further tasks
_TOGETHER = 2  # tries of a whole batch; then each item runs alone


@contextlib.contextmanager
def connected(workers: int | None) -> Iterator[Any]:
    """Ray, connected to ``RAY_ADDRESS`` or started here; a connection that is there is used and left.

    Args:
        workers: CPUs to use at most when Ray is started here; a cluster that runs already has its own number.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("engine: ray needs Ray; install it with: pip install 'winnow-vlm[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
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
    try:
        yield ray
    finally:
        ray.shutdown()


class RayPool(Pool):
    """The workers of a Ray cluster.

    Args:
        workers: as of ``connected``.
        needed: what a machine has to see to be given work.
        result: the folder that part tasks write to; its files are served to machines that do not see it.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, workers: int | None, needed: Sequence[Sight] = (), result: Sight | None = None) -> None:
        self._stack = contextlib.ExitStack()
        self._ray: Any = self._stack.enter_context(connected(workers))
        resources = self._ray.cluster_resources()
        super().__init__(PREFETCH * int(resources.get("CPU", 1)))
        self._gpus = int(resources.get("GPU", 0))
        self._job = Job(uuid.uuid4().hex, str(Path.cwd()), needed, result)
        self._brings = result is not None and not self._is_seen_everywhere(result)
        self._together: Any = self._ray.remote(max_retries=0)(_together)
        self._alone: Any = self._ray.remote(max_retries=0)(_alone)
        # An input of many tasks lies in the object store once.
        self._stored = functools.lru_cache(_STORED)(lambda path: self._ray.put(path.read_bytes()))

    def _is_seen_everywhere(self, result: Sight) -> bool:
        """Whether all machines have said that they see a folder."""
        ray = self._ray
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        if len(nodes) == 1:
            return True
        only = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = ray.remote(num_cpus=0, max_retries=0)(_is_seen)
        asked = [look.options(scheduling_strategy=only(node, soft=False)).remote(result) for node in nodes]
        answered, silent = ray.wait(asked, num_returns=len(asked), timeout=_CONNECT_SECONDS)
        try:
            return not silent and all(ray.get(answered))
        except ray.exceptions.RayError:
            return False

    @functools.cached_property
    def models(self) -> Pool:
        """An actor for each GPU of the cluster; without any, tasks like all others, each on one CPU."""
        return _Gpus(self._ray, self._gpus, self._job) if self._gpus else self

    def close(self) -> None:
        """Free the GPUs, and end Ray if it was started here."""
        if isinstance(models := self.__dict__.get("models"), _Gpus):
            models.close()
        self._stack.close()

    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Any:
        return self._start(self._together, function, batch)

    def _start(self, kind: Any, function: Function[Item, Result], batch: list[Item]) -> Any:
        # Files are arguments: a task that asked for them would wait, and Ray start another process in its place.
        if not self._brings or self._job.result is None:
            return kind.remote(self._job, function, batch, None)
        folder = Path(self._job.result.folder)
        paths = [path for path in dict.fromkeys(paths_in(batch, folder)) if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in paths]
        return kind.remote(self._job, function, batch, names, *map(self._stored, paths))

    def _get(self, kind: Any, function: Function[Item, Result], batch: list[Item], future: Any) -> list[Any]:
        """What a task returned, as ``_get``; what it has written is here."""
        done: Done | None = _get(self._ray, future)
        if done is None:
            self._brings = True
            done = _get(self._ray, self._start(kind, function, batch))
            assert done is not None
        results, made = done
        if self._job.result is not None:
            keep(self._job.result, batch, made)
        self._patience.succeeded()
        return results

    def _results(self, function: Function[Item, Result], batch: list[Item], future: Any) -> list[Any]:
        for tries in range(1, _TOGETHER + 1):
            try:
                return self._get(self._together, function, batch, future)
            except WorkLost:
                if tries < _TOGETHER:
                    future = self._submit(function, batch)
        alone = [self._start(self._alone, function, [item]) for item in batch]
        return [self._persist(function, item, future) for item, future in zip(batch, alone, strict=True)]

    def _persist(self, function: Function[Item, Result], item: Item, future: Any) -> Any:
        """The result of one item, or ``Crashed`` or ``Lost``."""
        failures = 0
        while True:
            try:
                (result,) = self._get(self._alone, function, [item], future)
                return result
            except WorkLost as lost:
                failures += 1
                if failures >= self._patience.tries:
                    self._patience.gave_up()
                    return Lost(lost.why)
                time.sleep(seconds_before(failures))
                future = self._start(self._alone, function, [item])


class _Gpus(Pool):
    """Actors that hold a GPU each and keep their model between batches; one that dies is replaced while there is a GPU.

    Args:
        count: of GPUs.
    """

    def __init__(self, ray: Any, count: int, job: Job) -> None:
        super().__init__(2 * count)
        self._ray, self._count, self._job = ray, count, job
        # No CPU of its own: a node with as many GPUs as CPUs would have none left to decode with.
        self._kind: Any = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0, max_task_retries=0)(_Actor)
        self._actors: collections.deque[Any] = collections.deque()

    @property
    def models(self) -> Pool:
        """These."""
        return self

    def close(self) -> None:
        """Free the GPUs."""
        for actor in self._actors:
            self._ray.kill(actor)

    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Any:
        if len(self._actors) < self._count:
            self._actors.appendleft(self._kind.remote())
        actor = self._actors[0]
        self._actors.rotate(-1)
        return actor, actor.call.remote(self._job, function, batch)

    def _results(self, function: Function[Item, Result], batch: list[Item], future: Any) -> list[Any]:
        failures = 0
        while True:
            actor, result = future
            try:
                results: list[Any] = _get(self._ray, result)
                self._patience.succeeded()
                return results
            except WorkLost as lost:
                failures += 1
                if lost.gone and actor in self._actors:
                    self._actors.remove(actor)
                    # Its node may be gone with its GPU: a new actor would wait for one for ever.
                    self._count = max(1, min(self._count, int(self._ray.cluster_resources().get("GPU", 0))))
                if failures >= self._patience.tries:
                    self._patience.gave_up()
                    return [Lost(lost.why)] * len(batch)
                time.sleep(seconds_before(failures))
                future = self._submit(function, batch)


class _Actor:
    def call(self, job: Job, function: Function[Item, Result], batch: list[Item]) -> list[Result]:
        job.begin()
        return function(batch)


def _get(ray: Any, future: Any) -> Any:
    """What a task returned.

    Raises:
        WorkLost: its worker or node died, or the results were on a node that has died since.
    """
    try:
        return ray.get(future)
    except ray.exceptions.RayTaskError as error:  # what the function raised
        cause = error.cause
        if isinstance(cause, Unreachable):
            raise WorkLost(str(cause)) from None
        raise cause from error
    except ray.exceptions.RayError as error:
        raise WorkLost(_first_line(error), gone=True) from None


def _reach(address: str | None) -> None:
    """Raise OSError if nothing listens at ``host:port``: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _is_seen(sight: Sight) -> bool:
    return sight.is_seen()


def _together(
    job: Job, function: Function[Item, Result], batch: list[Item], names: Sequence[str] | None, *data: bytes
) -> Done | None:
    become_worker()
    return job.done(function, batch, None if names is None else dict(zip(names, data, strict=True)))


def _alone(
    job: Job, function: Function[Item, Result], batch: list[Item], names: Sequence[str] | None, *data: bytes
) -> Done | None:
    """One item in a process of its own, whose exit code says why it died: Ray does not tell."""
    brought = None if names is None else dict(zip(names, data, strict=True))
    return job.done(lambda items: _in_process(function, items[0]), batch, brought)


def _in_process(function: Function[Item, Result], item: Item) -> list[Any]:
    worker = Worker()
    try:
        try:
            return worker.call(function, [item])
        except WorkLost as lost:
            if not lost.fault:
                raise
        try:
            return worker.call(function, [item])
        except WorkLost as lost:
            if not lost.fault:
                raise
            return [Crashed()]
    finally:
        worker.close()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
