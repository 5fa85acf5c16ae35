"""Where the study runs: its cache, how many stages at a time, and the product's own commands as subprocesses."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from studies.demo.settings import StudySettings
from winnow.errors import UserError
from winnow.files import digest_of, write_text
from winnow.progress import Bar
from winnow.run import MANIFEST, Stages

_LOG_LINES = 20  # lines of a failed stage's log that the error shows
# Imported once for all stages: of a short training they would take a third of the time.
_SHARED = (
    "open_clip",
    "finetune.training.run",
    "finetune.training.stage",
    "finetune.training.trainer",
    "evalsuite.cli",
)
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([*_SHARED, "transformers.models.llava.modeling_llava", "peft"])

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lab:
    """What every part of the study needs.

    Attributes:
        cache: folder of sets, trainings and evaluations.
        jobs: stages at a time; they share the cores equally.
    """

    settings: StudySettings
    cache: Path
    jobs: int

    @property
    def sets(self) -> Path:
        """Folder of the training sets; its name depends on the images and questions, and on the first rates."""
        settings = self.settings
        rates = settings.comparisons[0].model_dump(include={"pictures", "answers"})
        return self.cache / f"sets-{digest_of([settings.images, settings.kinds, settings.data_seed, rates])[:8]}"

    @property
    def exam(self) -> Path:
        """Folder with the task that every arm is evaluated on."""
        return self.sets / "exam"

    @property
    def threads(self) -> int:
        """CPU threads of one stage: as many as the environment says, else the cores are shared."""
        return int(os.environ.get("OMP_NUM_THREADS") or 0) or max(1, len(os.sched_getaffinity(0)) // self.jobs)

    def map(self, label: str, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Run ``work`` on all items, ``jobs`` at a time, with a progress bar; the first error stops it."""
        with Bar(label, len(items)) as bar, ThreadPoolExecutor(self.jobs) as pool:
            running = [pool.submit(work, item) for item in items]
            for future in running:
                future.add_done_callback(lambda _: bar.advance())
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            failed = (future.exception() for future in running if future.done() and not future.cancelled())
            for error in filter(None, failed):
                raise error
            return [future.result() for future in running]


def default_jobs() -> int:
    """One stage on a GPU; without a GPU one per core, at most four.

    Measured on two cores: two trainings with one thread each take as long as one training with two.
    """
    import torch

    return 1 if torch.cuda.is_available() else min(len(os.sched_getaffinity(0)), 4)


def run_stage(
    stage: str, command: str, recipe: dict[str, Any], out: Path, *, inputs: Any = None, threads: int | None = None
) -> None:
    """Run for example ``finetune train`` on ``recipe``, unless ``out`` already holds its result.

    Each runs in a process of its own. Stages run side by side, so the output of each goes into its own log.

    Args:
        out: the stage's output folder; its recipe and log are written beside it.
        inputs: what else decides the result, for example digests of what the recipe reads; JSON-able.
        threads: CPU threads; None leaves the number to the libraries.

    Raises:
        UserError: the stage failed; the end of its log is part of the message.
    """

    def call() -> None:
        path = out.with_name(f"{out.name}.yaml")
        write_text(path, yaml.safe_dump(recipe, sort_keys=False))
        log = out.with_name(f"{out.name}.log")
        started = time.monotonic()
        arguments = ([stage, command, str(path)], log, threads, Path.cwd(), dict(os.environ))
        process = _processes.Process(target=_run_module, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
            raise UserError(
                f"{end}\n`{stage} {command} {path}` failed with exit code {process.exitcode}; fix it and run again"
            )
        print(f"{stage} {command} {path}: {time.monotonic() - started:.0f} s", flush=True)

    out.parent.mkdir(parents=True, exist_ok=True)
    Stages(out.parent).run_if_stale(out.name, [stage, command, recipe, inputs], [out / MANIFEST], call)


def _run_module(command: list[str], log: Path, threads: int | None, folder: Path, environment: dict[str, str]) -> None:
    """``python -m`` of a command in this process, which is a fork with the libraries loaded."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.update(environment)
    if threads:
        import torch

        torch.set_num_threads(threads)
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
