"""Where work runs: processes of this machine, or a Ray cluster. The results are the same bytes.

``open_pool`` gives workers. ``Pool.map`` sends batches to them and gives back the results in order; ``run_parts`` makes
the parts of a table with them. A worker that dies loses no work (``curate.engines.worker`` has the rules).

On a cluster every machine needs Winnow and the image root at the same path (a shared file system); rows and the parts
of image signals are written by the machine that runs the command. ``RAY_ADDRESS`` names the cluster; without it, Ray
starts one here.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from curate.engines.local import LocalPool
from curate.engines.pool import Pool
from curate.engines.ray import RayPool
from winnow.errors import UserError
from winnow.table_parts import Make, Run, Runner, run_here

Item = TypeVar("Item")
PartItem = tuple[Path, tuple[Any, ...]]
_FEW = 4  # parts for which no process is started


def open_pool(engine: Literal["local", "ray"], workers: int | None) -> Pool:
    """Workers, for a ``with`` statement.

    Args:
        workers: processes at most; None is one for each CPU (here at least two), or all of a cluster's.

    Raises:
        UserError: Ray is asked for and not installed, or cannot be reached.
    """
    # Two at least: a decoder that crashes must not take this process with it.
    return RayPool(workers) if engine == "ray" else LocalPool(workers or max(cpu_count(), 2))


def run_parts(pool: Pool, make: Callable[[PartItem], object]) -> Run:
    """How ``winnow.table_parts.Parts`` makes missing parts with the workers of a pool.

    Args:
        make: picklable; makes the part at a path from its arguments, and writes it atomically.

    Raises:
        UserError: a part's work was lost or crashed again and again; the parts that are made are kept.
    """

    def run(items: Sequence[PartItem]) -> Iterator[None]:
        for made in pool.map(functools.partial(_make, make), batched(items, 1), _crashed_part, _lost_part):
            yield from made

    return run


def runner_of(workers: int | None) -> Runner:
    """Makes parts in processes of this machine; a few are made in this one.

    Args:
        workers: as of ``open_pool``; 1 starts none.
    """

    def runner(make: Make) -> Run:
        def run(items: Sequence[PartItem]) -> Iterator[None]:
            if len(items) <= _FEW or workers == 1:
                yield from run_here(make)(items)
                return
            with open_pool("local", workers) as pool:
                yield from run_parts(pool, make)(items)

        return run

    return runner


def _make(make: Callable[[PartItem], object], items: list[PartItem]) -> list[None]:
    for item in items:
        make(item)
    return [None] * len(items)


def _crashed_part(item: PartItem) -> None:
    _lost_part(item, "its process crashes, or takes too long")


def _lost_part(item: PartItem, why: str) -> None:
    path, arguments = item
    raise UserError(f"{path}: cannot be made from {arguments[0] if arguments else 'nothing'}: {why}; run again")


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
