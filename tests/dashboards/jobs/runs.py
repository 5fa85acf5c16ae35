"""Small real runs for tests of the jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from easy_vqa import get_train_image_paths
from PIL import Image

from dashboards.jobs.access import Visitor
from dashboards.jobs.commands import Stage
from dashboards.jobs.recipe_text import text_of
from dashboards.jobs.store import LOG, Job, Lane, find_job, folder_of, new_job

ANN = Visitor("ann", "here")


def curation(root: Path, name: str, images: int = 3) -> str:
    """Recipe of a curation of a few images, or of so many that it can be stopped midway."""
    raw = root / "raw" / name
    raw.mkdir(parents=True)
    paths = get_train_image_paths()
    for number in range(images):
        Image.open(paths[number]).convert("RGB").save(raw / f"{number}.png")
    out = root / "curated" / name
    return text_of(
        {
            "name": name,
            "out": str(out),
            "sources": [{"location": str(raw)}],
            "signals": {"workers": 1, "shard_size": 16},
        }
    )


def put(root: Path, recipe: str, name: str, lane: Lane = "check", stage: Stage = "curate") -> Job:
    """A job in the queue that nobody takes yet."""
    result = root / "curated" / name
    return new_job(root, stage=stage, lane=lane, name=name, result=result, by="ann", below=root, recipe=recipe)


def awaited(root: Path, id: str, is_there: Callable[[Job], bool], seconds: float = 300) -> Job:
    """The job as soon as it is as wanted."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = find_job(root, id)
        if job is not None and is_there(job):
            return job
        time.sleep(0.05)
    log = folder_of(root, job) / LOG if job else None
    raise AssertionError(f"{job}\n{log.read_text() if log and log.is_file() else ''}")


def log_of(root: Path, job: Job) -> str:
    path = folder_of(root, job) / LOG
    return path.read_text() if path.is_file() else ""
