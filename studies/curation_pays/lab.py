"""Where a proof runs, and how much of it at a time.

The product's own commands, each in a process of its own, on recipes that are written beside their results.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from studies.curation_pays.settings import ProofSettings
from winnow.errors import UserError
from winnow.files import digest_of, write_json, write_text
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


_DONE = "done.json"
_SHOWN = 20  # lines of a failed stage's log


def run_stage(
    stage: str, command: str, recipe: dict[str, Any], out: Path, *, inputs: Any = None, threads: int | None = None
) -> None:
    """Run e.g. ``finetune train`` on ``recipe`` unless ``out`` holds its result already.

    The stages go on after a kill by themselves; this only spares starting them for nothing.
    Several run side by side, so what one says goes into a file.

    Args:
        out: the stage's output folder; recipe and log lie beside it.
        inputs: what else decides the result, for example digests of what the recipe reads.
        threads: CPU threads that it computes with; None leaves that to the libraries.

    Raises:
        UserError: the stage failed; the end of its log is part of the message.
    """
    made = digest_of([stage, command, recipe, inputs])
    done = out.with_name(f"{out.name}.{_DONE}")
    if done.is_file() and (out / "manifest.json").is_file() and made in done.read_text(encoding="utf-8"):
        return
    path = out.with_name(f"{out.name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(recipe, sort_keys=False))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    log = out.with_name(f"{out.name}.log")
    started = time.monotonic()
    with log.open("ab") as into:
        call = [sys.executable, "-m", stage, command, str(path)]
        code = subprocess.run(call, env=environment, stdout=into, stderr=into, check=False).returncode
    if code:
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:])
        raise UserError(f"{end}\n`{stage} {command} {path}` ended with {code}; mend it and start the proof again")
    print(f"{stage} {command} {path}: {time.monotonic() - started:.0f} s", flush=True)
    write_json(done, {"made_from": made})


def recipe_at(path: Path) -> dict[str, Any]:
    """A shipped recipe, to be changed where the proof differs from it."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
