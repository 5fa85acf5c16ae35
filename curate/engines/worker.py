"""A process that works on batches, one at a time, and whose end says whether the work or the machine is to blame."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess, parent_process
from typing import Any, Protocol

from winnow.errors import UserError
from winnow.remote.retry import backoff

TRIES = 6  # of an item whose workers are lost, or whose store cannot be reached
_STARTS = 10  # of a worker that is killed before it is ready
_BASE, _LONGEST = 1.0, 8.0  # seconds between tries
# Ends that come from inside the process: its code crashed, or took longer than ``time_limit`` allows. What is killed
# from outside (by the system for its memory, by an administrator) ends by another signal.
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGALRM})
_starting = threading.Lock()  # processes are started and reaped by one thread at a time
_is_worker = False  # whether this process is one that a pool can lose


class Unreachable(Exception):
    """A store, or the memory of this machine, failed and not the item: another try may succeed."""


class WorkLost(Exception):
    """A batch has no result, and nothing says that its items are to blame, unless ``fault``.

    Attributes:
        why: what happened, as the end of a sentence.
        gone: the process is.
        fault: it ended by itself.
        first: and had worked on nothing else.
    """

    def __init__(self, why: str, gone: bool = False, fault: bool = False, first: bool = False) -> None:
        super().__init__(why, gone, fault, first)
        self.why, self.gone, self.fault, self.first = why, gone, fault, first


@dataclass(frozen=True, slots=True)
class Crashed:
    """In place of a result: the item has killed its process, and again a fresh one that worked on nothing else."""


@dataclass(frozen=True, slots=True)
class Lost:
    """In place of a result: no try has succeeded, which says nothing about the item."""

    why: str


class Caller(Protocol):
    """What calls a function on a batch somewhere."""

    def call(self, function: Callable[[list[Any]], list[Any]], batch: list[Any]) -> list[Any]:
        """The results.

        Raises:
            WorkLost: there are none.
        """


class ThisProcess:
    """Calls here, without the protection of a process of its own."""

    def call(self, function: Callable[[list[Any]], list[Any]], batch: list[Any]) -> list[Any]:
        """As ``Caller.call``."""
        try:
            return function(batch)
        except Unreachable as error:
            raise WorkLost(str(error)) from error


class Worker:
    """A process that is started when it is needed, and again after it was lost."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._connection: Connection[Any, Any] | None = None
        self._calls = 0
        self._closed = threading.Event()

    def call(self, function: Callable[[list[Any]], list[Any]], batch: list[Any]) -> list[Any]:
        """As ``Caller.call``; what the function raises is raised here.

        Raises:
            UserError: no process can be started.
        """
        connection = self._connection or self._start()
        self._calls += 1
        try:
            connection.send((function, batch))
            done, value = connection.recv()
        except (EOFError, OSError):
            code = self._end()
            fault = code is not None and _is_fault(code)
            raise WorkLost(_end_in_words(code), True, fault, self._calls == 1) from None
        if done:
            results: list[Any] = value
            return results
        if isinstance(value, Unreachable):
            raise WorkLost(str(value)) from value
        raise value

    def close(self) -> None:
        """End the process, whatever it does; it is not started again."""
        self._closed.set()
        if (process := self._process) is not None:
            process.kill()
            with _starting:
                process.join()

    def _start(self) -> Connection[Any, Any]:
        """A connection to a new process that is ready."""
        context = multiprocessing.get_context("spawn")  # not forked: torch, arrow and onnxruntime have threads here
        for starts in range(1, _STARTS + 1):
            if self._closed.is_set():
                break
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            code = None
            try:
                with _starting, theirs:
                    process.start()
                self._process, self._connection, self._calls = process, ours, 0
                if self._closed.is_set():
                    process.kill()
                ours.recv()
                return ours
            except (EOFError, OSError):  # it was killed: the latter while it was told what to do
                code = self._end()
            if code is not None and code >= 0:
                break
            self._closed.wait(backoff(starts, base=_BASE / 4, longest=_LONGEST / 2))
        raise UserError(
            "worker processes cannot be started, or are killed at once; set workers: 1"
            " (a script that calls Winnow must do so below `if __name__ == '__main__':`)"
        )

    def _end(self) -> int | None:
        """Forget the process, which has ended or is about to; returns its exit code if it can be had."""
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is None:
            return None
        wait([process.sentinel])
        with _starting:
            process.join()
            return process.exitcode


class Patience:
    """How often an item whose workers are lost is tried: often, but once only while nothing succeeds at all.

    So a store that is down for hours does not cost its waiting time for each of a million images.
    """

    def __init__(self) -> None:
        self.tries = TRIES

    def succeeded(self) -> None:
        """Some work was done."""
        self.tries = TRIES

    def gave_up(self) -> None:
        """An item was lost."""
        self.tries = 1


def one_by_one(
    caller: Caller,
    function: Callable[[list[Any]], list[Any]],
    batch: Sequence[Any],
    patience: Patience,
    rest: Callable[[float], object],
    *,
    crashed: bool = False,
) -> Iterator[Any]:
    """The result of each item of a batch that was lost, or ``Crashed`` or ``Lost``.

    Args:
        rest: waits for some seconds.
        crashed: the batch was lost by a fault, so that one more crash alone tells which item it was.
    """
    for item in batch:
        suspected, failures = crashed, 0
        while True:
            try:
                yield from caller.call(function, [item])
                patience.succeeded()
                break
            except WorkLost as lost:
                if lost.fault and lost.first and suspected:
                    yield Crashed()
                    break
                suspected = suspected or lost.fault
                failures += not lost.fault
                if failures >= patience.tries:
                    patience.gave_up()
                    yield Lost(lost.why)
                    break
                rest(seconds_before(failures))


def seconds_before(failures: int) -> float:
    """How long to wait after so many failures; not at all after the first."""
    return backoff(failures - 1, base=_BASE, longest=_LONGEST) if failures > 1 else 0.0


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


def become_worker() -> None:
    """This process may be killed by ``time_limit``, and uses one thread."""
    global _is_worker
    _is_worker = True
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read when numpy is imported, which is later


def _serve(connection: Connection[Any, Any]) -> None:
    """The life of a worker: no remarks, Ctrl-C left to the parent, and an end when the parent is gone."""
    become_worker()
    # Only C libraries write there (libtiff on a damaged file); what Python raises goes to the parent.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    connection.send(None)
    while True:
        answer = _answer(connection)
        try:
            connection.send(answer)
        except Exception as error:  # noqa: BLE001  what cannot be pickled is the caller's to see
            connection.send((False, TypeError(f"a result cannot be sent: {error}")))


def _answer(connection: Connection[Any, Any]) -> tuple[bool, Any]:
    try:
        function, batch = connection.recv()
    except EOFError:
        raise SystemExit from None
    except Exception as error:  # noqa: BLE001  what cannot be unpickled is the caller's to see
        return False, error
    try:
        return True, function(batch)
    except Exception as error:  # noqa: BLE001  raised again in the parent
        error.add_note(f"In a worker:\n{''.join(traceback.format_exception(error))}")
        return False, error


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _is_fault(code: int) -> bool:
    """Whether a process has ended itself: by a fault, or by a C library that calls ``exit``."""
    return code >= 0 or -code in _FAULTS


def _end_in_words(code: int | None) -> str:
    if code is None or code >= 0:
        return "its process ended"
    return f"its process was killed ({signal.Signals(-code).name}), by the system for its memory or from outside"
