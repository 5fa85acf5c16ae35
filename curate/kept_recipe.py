"""The recipe that ``curate run LOCATION`` keeps beside its result, as ``recipe.yaml`` of the curated folder.

The first run writes it, later ones of the same location use it, edited or not. Options that change what is read rewrite
it only while nobody has edited it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from curate.init import look, name_of, recipe_text, with_shares
from curate.recipe import read_recipe
from curate.settings.sources import SourceSettings
from curate.workspace import Workspace
from winnow.errors import UserError
from winnow.files import sha256_file, write_text
from winnow.run import Stages

_WRITTEN = "recipe.yaml"  # stage of the digest of the text as it was written


def recipe_of(settings: SourceSettings, name: str | None) -> Path:
    """The recipe of a location: the one that an earlier run has kept, or a new one.

    Args:
        name: of the result, or a path of its folder; None takes the location's name.

    Raises:
        UserError: the location cannot be read, the folder holds another result or lies in the location, or its recipe
            was edited and reads the location with other options.
    """
    folder = _folder(name or name_of(settings.location))
    workspace = Workspace(folder)
    _check_outside(folder, Path(settings.location))
    if workspace.recipe.is_file():
        kept = read_recipe(workspace.recipe).sources[0]
        if os.path.abspath(kept.location) != os.path.abspath(settings.location):  # noqa: PTH100 (of hub: names too)
            raise UserError(
                f"{folder}: holds the result of {kept.location}; give that of {settings.location} another --name"
            )
        given = settings.model_dump(exclude_defaults=True, exclude={"location"})
        changed = {key: value for key, value in given.items() if getattr(kept, key) != value}
        if not changed:
            return workspace.recipe
        if _is_edited(workspace):
            raise UserError(
                f"{workspace.recipe}: was edited, and has not {', '.join(changed)} as given now; write that into it"
                f" and `curate run {workspace.recipe}`, or give another --name"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: exists already and is not a result of {settings.location}; give another --name")
    found = look(settings, whole=False)
    if found.opened.layout == "image_folder":  # reads all of its image root
        _check_outside(folder, found.opened.image_root)
    out = None if folder.parent == Path("data/curated") else folder
    _write(workspace, recipe_text(workspace.recipe, folder.name, out, settings, found))
    return workspace.recipe


def add_shares(workspace: Workspace, counts: dict[str, Any]) -> None:
    """Write behind each rule of the kept recipe what it took, unless somebody has edited it."""
    if not _is_edited(workspace):
        before = workspace.recipe.read_text(encoding="utf-8")
        text = with_shares(before, counts["rules"], counts["rows"], f"all {counts['rows']:,} rows")
        if text != before:
            _write(workspace, text)


def _folder(name: str) -> Path:
    return Path(name) if Path(name).name != name else Path("data/curated") / name


def _check_outside(folder: Path, read: Path) -> None:
    """A result in a folder that is read would be part of the next run's data."""
    if read.is_dir() and folder.resolve().is_relative_to(read.resolve()):
        raise UserError(
            f"{folder}: lies in {read}, so that its images would be read too; call curate in another folder, or give"
            " a folder outside with --name"
        )


def _is_edited(workspace: Workspace) -> bool:
    return bool(Stages(workspace.work).get(_WRITTEN) != sha256_file(workspace.recipe))


def _write(workspace: Workspace, text: str) -> None:
    write_text(workspace.recipe, text)
    Stages(workspace.work).set(_WRITTEN, sha256_file(workspace.recipe))
