"""What every pool of workers does: batches go in, results come out in the same order, and no batch is lost."""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

from curate.engines.worker import TRIES, Crashed, Lost, Patience
from winnow.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Function = Callable[[list[Item]], list[Result]]
PREFETCH = 4  # batches for each worker


class Pool(abc.ABC):
    """A context manager over some workers.

    Args:
        ahead: batches that may be under way.
    """

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._patience = Patience()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(
        self,
        function: Function[Item, Result],
        batches: Iterable[list[Item]],
        crashed: Callable[[Item], Result],
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[list[Result]]:
        """Results of each batch, in order; a few batches are prefetched.

        A worker that dies costs no result: its batch is done again. Only an item that also kills a fresh process that
        works on nothing else is to blame.

        Args:
            function: picklable, one result for each item; may raise ``Unreachable``.
            batches: picklable items.
            crashed: the result for an item that kills its process.
            lost: the result for an item whose workers were all lost or whose store was never reached, and why; None
                ends the run.

        Raises:
            UserError: workers cannot be started, or work was lost and ``lost`` is None.
        """
        waiting: collections.deque[tuple[list[Item], Any]] = collections.deque()

        def first() -> list[Result]:
            batch, future = waiting.popleft()
            found = self._results(function, batch, future)
            return [
                crashed(item)
                if isinstance(result, Crashed)
                else (lost or _ends_the_run)(item, result.why)
                if isinstance(result, Lost)
                else result
                for item, result in zip(batch, found, strict=True)
            ]

        for batch in batches:
            waiting.append((batch, self._submit(function, batch)))
            if len(waiting) >= self._ahead:
                yield first()
        while waiting:
            yield first()

    @property
    @abc.abstractmethod
    def models(self) -> Pool:
        """Where large models run, with a batch of theirs as one item, which is never divided."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the workers."""

    @abc.abstractmethod
    def _submit(self, function: Function[Item, Result], batch: list[Item]) -> Any:
        """Start a batch; gives its future."""

    @abc.abstractmethod
    def _results(self, function: Function[Item, Result], batch: list[Item], future: Any) -> list[Any]:
        """Wait for the results of a batch; ``Crashed`` or ``Lost`` in place of some."""


def _ends_the_run(_: object, why: str) -> Any:
    raise UserError(f"some work was not done in {TRIES} tries: {why}; run again to continue")
