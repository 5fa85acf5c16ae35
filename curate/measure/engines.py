"""Where work on images runs: processes of this machine, or a Ray cluster. The results are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from curate.measure.pool import Item, LocalPool, Result, default_workers


class Pool(Protocol):
    """What every engine does."""

    def map(
        self,
        function: Callable[[list[Item]], list[Result]],
        batches: Iterable[list[Item]],
        crashed: Callable[[Item], Result],
    ) -> Iterator[list[Result]]:
        """Results of each batch, in order; ``crashed(item)`` stands for an item that kills its process."""
        ...


def open_pool(engine: Literal["local", "ray"], workers: int | None) -> AbstractContextManager[Pool]:
    """Workers, for a ``with`` statement.

    Args:
        workers: processes at most; None is one for each CPU (here at least two), or all of a cluster's.

    Raises:
        UserError: Ray is asked for and not installed, or cannot be reached.
    """
    if engine == "ray":
        from curate.measure.ray import RayPool

        return RayPool(workers)
    return LocalPool(workers or default_workers())
