"""The jobs on disk: a folder each below ``DATA/jobs`` with its recipe, its log and its state, and how states change.

A state is changed under a lock, so that a job is never both started and called off. What says that it runs is believed
only while its process or its worker lives.
"""

from __future__ import annotations

import contextlib
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dashboards.jobs.commands import RECIPE, Options, Stage
from dashboards.jobs.locks import is_held
from dashboards.jobs.seal import is_seal_of, seal_of
from winnow.errors import UserError
from winnow.files import digest_of, locked, read_json, read_regular, write_json, write_text
from winnow.run import MANIFEST

State = Literal["waiting", "running", "finished", "failed", "stopped", "interrupted"]
Lane = Literal["run", "check"]  # one job at a time in each: what only checks a recipe does not wait for a training
ENDED: tuple[State, ...] = ("finished", "failed", "stopped", "interrupted")
LOG, ALIVE = "log.txt", ".alive"
_STATE, _STOP, _SEAL = "job.json", "stop.json", ".seal"
_FOREIGN = "not put in the queue by you on this machine; read its recipe before you continue it"
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_CHECKS_KEPT = 20


class Job(BaseModel):
    """One command that was asked for.

    Attributes:
        id: made by us, in the order of time; names the job's folder.
        stage: the command; its only argument is the recipe in the job's folder.
        lane: ``run``, or ``check`` for the command that only checks the recipe.
        name: of the recipe.
        result: folder that the run writes, absolute.
        by: who started it.
        below: folder that relative paths of the recipe start from.
        options: of its command.
        machine: name of the machine in whose queue it is.
        queued: when it was last put in the queue, in ns since 1970: their order.
        started, ended: seconds since 1970.
        process: number of the process, and of its group.
        code: exit code, negative for a signal; None: not known.
        note: what else there is to say about its state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    stage: Stage
    lane: Lane
    name: str
    result: str
    by: str
    below: str
    options: Options = ()
    machine: str
    queued: int
    state: State = "waiting"
    started: float | None = None
    ended: float | None = None
    process: int | None = Field(default=None, gt=1)
    code: int | None = None
    note: str = ""


def jobs_folder(root: Path) -> Path:
    """Where the jobs of a data folder lie."""
    return root / "jobs"


def folder_of(root: Path, job: Job) -> Path:
    """The folder of a job."""
    return jobs_folder(root) / job.id


def worker_lock(root: Path, lane: Lane, machine: str) -> Path:
    """The lock that the worker of a lane holds."""
    return jobs_folder(root) / f".{lane}-{re.sub(r'[^A-Za-z0-9_-]', '_', machine)}.lock"


def new_job(
    root: Path, *, stage: Stage, lane: Lane, name: str, result: Path, by: str, below: Path, recipe: str,
    options: Options = (),
) -> Job:  # fmt: skip
    """Put a job at the end of the queue.

    Args:
        recipe: the text of its recipe.

    Raises:
        UserError: the data folder cannot be written.
    """
    with _changing(root):
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        job = Job(
            id=f"{stamp}-{secrets.token_hex(3)}", stage=stage, lane=lane, name=name, result=str(result), by=by,
            below=str(below), options=options, machine=platform.node(), queued=time.time_ns(),
        )  # fmt: skip
        write_text(folder_of(root, job) / RECIPE, recipe)
        _write(root, job)
        _forget_old_checks(root)
    return job


def find_job(root: Path, id: str) -> Job | None:
    """The job of that id as it is now; None if there is none."""
    if not _ID.fullmatch(id):
        return None
    try:  # not kept by time or number of the file: two states may follow each other faster than its clock ticks
        job = Job.model_validate_json(read_regular(jobs_folder(root) / id / _STATE))
    except (OSError, ValidationError):  # a folder that is no job
        return None
    return _as_it_is(root, job) if job.id == id else None


def recipe_of(root: Path, job: Job) -> str:
    """The text of a job's recipe.

    Raises:
        UserError: it is gone or no text.
    """
    path = folder_of(root, job) / RECIPE
    try:
        return read_regular(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); start the run anew from its form") from error


def all_jobs(root: Path, lane: Lane) -> list[Job]:
    """The jobs of a lane as they are now, oldest first."""
    try:
        ids = sorted(path.name for path in jobs_folder(root).iterdir())
    except OSError:
        return []
    return [job for id in ids if (job := find_job(root, id)) and job.lane == lane]


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Those that wait on this machine, the next one first."""
    here = platform.node()
    waiting = [job for job in jobs if job.state == "waiting" and job.machine == here]
    return sorted(waiting, key=lambda job: (job.queued, job.id))


def _as_it_is(root: Path, job: Job) -> Job:
    """A job whose process is gone has ended, whether or not a worker saw it; one of somebody else's queue waits not."""
    if job.state == "waiting" and job.machine == platform.node() and not _is_sealed(root, job):
        return job.model_copy(update={"state": "stopped", "note": _FOREIGN})
    if job.state != "running" or is_held(folder_of(root, job) / ALIVE):
        return job
    if is_held(worker_lock(root, job.lane, job.machine)):  # which is about to start it, or to write how it ended
        return job
    state, note = unseen_end(root, job)
    return job.model_copy(update={"state": state, "note": note})


def unseen_end(root: Path, job: Job) -> tuple[State, str]:
    """How a job ended whose end nobody saw, so that there is no exit code: its state, and a note."""
    if _has_result(job):
        return "finished", "its worker was killed; its result is whole"
    if stop_asked(root, job):
        return "stopped", ""
    return "interrupted", "its worker was killed, or the machine went down"


def _has_result(job: Job) -> bool:
    """Whether the run wrote its manifest, which stages write last."""
    try:
        written = (Path(job.result) / MANIFEST).stat().st_mtime
    except OSError:
        return False
    return job.lane == "run" and job.started is not None and written >= job.started


def begin_next(root: Path, lane: Lane) -> Job | None:
    """Take the next job of the queue: from now on it runs. None if none waits."""
    with _changing(root):
        waiting = in_order(all_jobs(root, lane))
        return _changed(root, waiting[0], state="running", started=time.time(), ended=None) if waiting else None


def note_process(root: Path, job: Job, process: int) -> Job:
    """Keep the number of a job's process, so that another worker can stop it."""
    with _changing(root):
        return _changed(root, job, process=process)


def end(root: Path, job: Job, state: State, *, code: int | None, note: str = "") -> Job:
    """Keep how a job ended."""
    with _changing(root):
        return _changed(root, job, state=state, code=code, note=note, ended=time.time(), process=None)


def call_off(root: Path, id: str, by: str) -> None:
    """Stop a job: at once if it waits; one that runs is interrupted like with Ctrl-C, the second time killed.

    Raises:
        UserError: there is no such job.
    """
    with _changing(root):
        job = _known(root, id)
        if job.state == "waiting":
            _changed(root, job, state="stopped", ended=time.time(), note=f"called off by {by}")
        elif job.state == "running":
            again = stop_asked(root, job) is not None
            write_json(folder_of(root, job) / _STOP, {"by": by, "kill": again})


def stop_asked(root: Path, job: Job) -> Literal["stop", "kill"] | None:
    """Whether somebody wants a running job to end."""
    try:
        asked = read_json(folder_of(root, job) / _STOP)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # somebody asked, whatever else it said
        return "stop"
    return "kill" if isinstance(asked, dict) and asked.get("kill") is True else "stop"


def put_back(root: Path, id: str, by: str) -> Job:
    """Put a job that ended without a result at the end of the queue again, to go on where it stopped.

    Raises:
        UserError: there is no such job, or it is not one that ended so.
    """
    with _changing(root):
        job = _known(root, id)
        elsewhere = job.state == "waiting" and job.machine != platform.node()
        if job.state not in ("failed", "stopped", "interrupted") and not elsewhere:
            raise UserError(f"job {id}: is {job.state}; only one that ended without a result can be continued")
        (folder_of(root, job) / _STOP).unlink(missing_ok=True)
        # What it has done since it deleted the earlier run is to stay.
        options = tuple(one for one in job.options if one != "fresh" or job.started is None)
        return _changed(
            root, job, state="waiting", queued=time.time_ns(), machine=platform.node(), by=by, started=None,
            options=options, ended=None, process=None, code=None, note="",
        )  # fmt: skip


def _known(root: Path, id: str) -> Job:
    job = find_job(root, id)
    if job is None:
        raise UserError(f"job {id[:40]!r}: there is none of that id; reload the page")
    return job


@contextlib.contextmanager
def _changing(root: Path) -> Iterator[None]:
    try:
        jobs_folder(root).mkdir(parents=True, exist_ok=True)
        with locked(jobs_folder(root) / ".lock"):
            yield
    except OSError as error:
        place = error.filename or jobs_folder(root)
        raise UserError(f"{place}: cannot be written ({error.strerror or error}); nothing was changed") from error


def _changed(root: Path, job: Job, **changes: object) -> Job:
    changed = job.model_copy(update=changes)
    _write(root, changed)
    return changed


def _write(root: Path, job: Job) -> None:
    if job.state == "waiting":
        write_text(folder_of(root, job) / _SEAL, seal_of(*_sealed(root, job)))
    write_json(folder_of(root, job) / _STATE, job.model_dump(mode="json"))


def _is_sealed(root: Path, job: Job) -> bool:
    try:
        return is_seal_of(read_regular(folder_of(root, job) / _SEAL).decode("ascii"), *_sealed(root, job))
    except (OSError, ValueError):
        return False


def _sealed(root: Path, job: Job) -> tuple[bytes, ...]:
    """All that says what a job does."""
    said = job.model_dump(include={"id", "stage", "lane", "result", "below", "options", "machine"})
    return str(root.resolve()).encode(), digest_of(said).encode(), read_regular(folder_of(root, job) / RECIPE)


def _forget_old_checks(root: Path) -> None:
    ended = [job for job in all_jobs(root, "check") if job.state in ENDED]
    for job in ended[:-_CHECKS_KEPT]:
        shutil.rmtree(folder_of(root, job), ignore_errors=True)
