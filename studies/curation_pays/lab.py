"""Where a proof runs, and how much of it at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from studies.curation_pays.settings import ProofSettings
from winnow.files import digest_of
from winnow.progress import Bar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lab:
    """What every part of a proof is given.

    Attributes:
        cache: folder of sets, trainings and evaluations.
        jobs: stages at a time; each gets its share of the cores.
    """

    settings: ProofSettings
    cache: Path
    jobs: int

    @property
    def sets(self) -> Path:
        """Folder of the training sets; other images or questions get another one."""
        settings = self.settings
        chosen = [settings.images, settings.kinds, settings.data_seed, settings.strength]
        return self.cache / f"sets-{digest_of(chosen)[:8]}"

    @property
    def exam(self) -> Path:
        """Folder with the task that all arms are asked."""
        return self.sets / "exam"

    @property
    def threads(self) -> int:
        """CPU threads of one stage."""
        return max(1, len(os.sched_getaffinity(0)) // self.jobs)

    def all(self, label: str, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """``map(work, items)`` under a bar, ``jobs`` at a time; the first error ends it."""
        with Bar(label, len(items)) as bar, ThreadPoolExecutor(self.jobs) as pool:
            running = [pool.submit(work, item) for item in items]
            for one in running:
                one.add_done_callback(lambda _: bar.advance())
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            failed = (one.exception() for one in running if one.done() and not one.cancelled())
            for error in filter(None, failed):
                raise error
            return [one.result() for one in running]


def default_jobs() -> int:
    """One stage on a GPU; without one a stage a core, up to four.

    Measured on two cores: two trainings with one thread each take as long as one with two.
    """
    import torch

    return 1 if torch.cuda.is_available() else min(len(os.sched_getaffinity(0)), 4)
