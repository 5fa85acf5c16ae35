"""Where work runs: processes of this machine, or a Ray cluster. The results are the same bytes.

``open_pool`` gives workers. ``Pool.map`` sends batches to them and gives back the results in order; ``runner_of`` makes
the parts of a table with them. A worker that dies loses no work (``curate.engines.worker`` has the rules).

On a cluster every machine needs Winnow, and sources and images on object storage or at the same path (a shared file
system); the folder of the result may be one that only this machine sees (``curate.engines.far``). ``RAY_ADDRESS`` names
the cluster; without it, Ray starts one here.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from curate.engines.far import Sight, absolute
from curate.engines.local import LocalPool
from curate.engines.pool import Pool
from curate.engines.ray import RayPool, connected
from winnow.errors import UserError
from winnow.parquet.table_parts import Make, Run, Runner, run_here
from winnow.remote.addresses import is_mirrored

Item = TypeVar("Item")
PartItem = tuple[Path, tuple[Any, ...]]
Engine = Literal["local", "ray"]
_FEW = 4  # parts for which no process is started
_SHOWS_WITHIN = 60.0  # seconds: what another machine has written to a shared file system


def open_pool(engine: Engine, workers: int | None, folders: Iterable[Path] = ()) -> Pool:
    """Workers, for a ``with`` statement.

    Args:
        workers: processes at most; None is one for each CPU (here at least two), or all of a cluster's.
        folders: that workers read; a machine that does not see them does nothing. Mirrors of object storage do not
            count.

    Raises:
        UserError: Ray is asked for and not installed, or cannot be reached.
    """
    # Two at least: a decoder that crashes must not take this process with it.
    return RayPool(workers, _sights(folders)) if engine == "ray" else LocalPool(workers or max(cpu_count(), 2))


def _sights(folders: Iterable[Path]) -> list[Sight]:
    return [Sight.of(folder) for folder in folders if folder.is_dir() and not is_mirrored(str(folder.absolute()))]


def engine_on(engine: Engine, workers: int | None) -> contextlib.AbstractContextManager[object]:
    """One connection to the cluster for all pools of a block.

    Raises:
        UserError: as of ``open_pool``.
    """
    return connected(workers) if engine == "ray" else contextlib.nullcontext()


def run_parts(pool: Pool, make: Callable[[PartItem], object]) -> Run:
    """How ``winnow.parquet.table_parts.Parts`` makes missing parts with the workers of a pool.

    Args:
        make: picklable; makes the part at a path from its arguments, and writes it atomically.

    Raises:
        UserError: a part's work was lost or crashed again and again; the parts that are made are kept.
    """

    def run(items: Sequence[PartItem]) -> Iterator[None]:
        for made in pool.map(functools.partial(_make, make), batched(items, 1), _crashed_part, _lost_part):
            yield from made

    return run


def runner_of(engine: Engine, workers: int | None, result: Path, folders: Iterable[Path] = ()) -> Runner:
    """Makes parts with workers; a few are made in this process.

    A function of parts gets its files as ``Path`` objects, in its item: those below ``result`` reach every machine.

    Args:
        workers: as of ``open_pool``; 1 local one starts none.
        result: the folder that parts are written below.
        folders: others that they are read from, as of ``open_pool``.
    """

    def runner(make: Make) -> Run:
        def run(items: Sequence[PartItem]) -> Iterator[None]:
            if len(items) <= _FEW or (engine == "local" and workers == 1):
                yield from run_here(make)(items)
            elif engine == "local":
                with open_pool(engine, workers) as pool:
                    yield from run_parts(pool, make)(items)
            else:
                mark = Sight.marked(result)
                with contextlib.ExitStack() as stack:
                    stack.callback(Path(mark.path).unlink, missing_ok=True)
                    pool = stack.enter_context(RayPool(workers, _sights(folders), mark))
                    for (path, _), made in zip(items, run_parts(pool, make)(absolute(list(items))), strict=True):
                        _wait_for(path)
                        yield made

        return run

    return runner


def _wait_for(path: Path) -> None:
    """Until a file shows that another machine has written: a network file system may remember that there was none.

    Raises:
        UserError: it does not.
    """
    end = time.monotonic() + _SHOWS_WITHIN
    while not path.exists():
        if time.monotonic() > end:
            raise UserError(f"{path}: was made on another machine and does not show here; run again")
        os.listdir(path.parent)  # noqa: PTH208 (asks the server anew)
        time.sleep(0.1)


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
