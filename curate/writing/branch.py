"""A second curated folder on the same measurements, so that two policies can be compared."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from curate.recipe import CurateRecipe
from curate.workspace import Workspace, sole_use
from winnow.errors import UserError
from winnow.run import MANIFEST

_OWN = {MANIFEST, "lock", "plots", "exports"}


def branch(recipe: CurateRecipe, into: Path) -> CurateRecipe:
    """Give ``into`` what was measured for the recipe's folder; returns the recipe for there, without its exports.

    Files are linked, not copied, where the disk allows: they are only ever replaced whole.

    Raises:
        UserError: nothing was measured, or ``into`` is not empty and no earlier branch.
    """
    source, target = Workspace(recipe.folder), Workspace(into)
    if not source.paths.is_file():
        raise UserError(f"{source.folder}: nothing is measured there yet; make it with `curate run` first")
    if into.resolve().is_relative_to(source.folder.resolve()):
        raise UserError(f"{into}: is the recipe's own folder, or in it; leave out --into, or give another folder")
    if into.exists() and any(into.iterdir()) and not target.paths.is_file():
        raise UserError(f"{into}: is there already and is no curated folder; choose another one")
    with sole_use(source), sole_use(target):
        (into / MANIFEST).unlink(missing_ok=True)
        shutil.copytree(source.folder, into, copy_function=_link, dirs_exist_ok=True, ignore=_not_taken)
    return recipe.model_copy(update={"out": into, "exports": []})


def _not_taken(_: str, names: list[str]) -> set[str]:
    """The result's manifest, what people have made from the result, and what is only used while a run lasts."""
    return {name for name in names if name in _OWN or name.endswith((".tmp", ".partial"))}


def _link(source: str, target: str) -> str:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
    return target
