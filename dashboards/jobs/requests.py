"""What visitors may ask for: check a recipe, run it, stop a job, continue one. Who may is decided here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dashboards.jobs.access import Visitor, check_allowed
from dashboards.jobs.commands import RECIPE, Options, Stage
from dashboards.jobs.concerns import concerns, result_folder
from dashboards.jobs.stages import STAGES
from dashboards.jobs.store import Job, Lane, call_off, find_job, new_job, put_back, recipe_of
from dashboards.jobs.worker import ensure_workers
from winnow.errors import UserError
from winnow.recipe import StrictModel


def read_recipe(stage: Stage, text: str) -> StrictModel:
    """A recipe as its stage reads it.

    Raises:
        UserError: the stage's own sentence about what is wrong with it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECIPE
        path.write_text(text, encoding="utf-8")
        try:
            return STAGES[stage].read(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), "recipe")) from error


def submit(root: Path, stage: Stage, lane: Lane, text: str, visitor: Visitor, options: Options = ()) -> Job:
    """Put the check or the run of a recipe in the queue, and see to it that somebody takes it.

    Relative paths of the recipe start from the current folder, as in a terminal there.

    Args:
        options: of the command; those that its stage has.

    Raises:
        UserError: the visitor may not, or not with such a recipe; the recipe is faulty; more than one way to use GPUs.
    """
    check_allowed(visitor)
    if unknown := set(options) - STAGES[stage].options.keys():
        raise UserError(f"{stage} has no option {min(unknown)}")
    if len(ways := set(options) - {"fresh", "offline"}) > 1:
        raise UserError(f"options: {' and '.join(sorted(ways))} are two ways to use all GPUs; choose one")
    recipe, below = read_recipe(stage, text), Path.cwd()
    _check_concerns(recipe, below, root, visitor)
    folder = result_folder(recipe, below)
    job = new_job(
        root,
        stage=stage,
        lane=lane,
        name=folder.name,
        result=folder,
        by=visitor.name,
        below=below,
        recipe=text,
        options=options,
    )
    ensure_workers(root)
    return job


def stop(root: Path, id: str, visitor: Visitor) -> None:
    """Stop a job; the second time, kill it.

    Raises:
        UserError: the visitor may not, or there is no such job.
    """
    check_allowed(visitor)
    call_off(root, id, visitor.name)
    ensure_workers(root)  # for one whose worker died


def go_on(root: Path, id: str, visitor: Visitor) -> None:
    """Continue a job that was interrupted, stopped or failed: the stages find out by themselves what is left.

    Raises:
        UserError: the visitor may not, or not with such a recipe; there is no such job, or it cannot be continued.
    """
    check_allowed(visitor)
    if (job := find_job(root, id)) is not None:
        recipe = read_recipe(job.stage, recipe_of(root, job))
        _check_concerns(recipe, Path(job.below), root, visitor)
    put_back(root, id, visitor.name)
    ensure_workers(root)


def _check_concerns(recipe: StrictModel, below: Path, root: Path, visitor: Visitor) -> None:
    found = concerns(recipe, below, root)
    if found and visitor.place != "here":
        raise UserError(f"{found[0]} Only somebody at the server's own machine may start that.")
