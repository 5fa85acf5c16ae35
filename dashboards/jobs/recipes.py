"""Recipes to start from: those of results, which their manifests hold, and those that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

import dashboards
from dashboards.data.catalog import Folder, manifest_of
from dashboards.jobs.commands import Stage
from dashboards.jobs.recipe_text import text_of, values_of
from dashboards.jobs.stages import STAGES
from winnow.errors import UserError


def recipe_of_result(stage: Stage, folder: Folder, below: Path) -> str:
    """The recipe that a result was made with, without what is left at its default.

    Args:
        below: the folder that relative paths start from; the recipe names its result's folder if that is another one
            than it would be from there.

    Raises:
        UserError: the manifest holds no recipe of this stage.
    """
    model = STAGES[stage].model
    held = manifest_of(folder).get("recipe")
    known = {key: value for key, value in held.items() if key in model.model_fields} if isinstance(held, dict) else {}
    try:
        recipe = model.model_validate(known)
    except ValidationError as error:
        raise UserError(
            f"{folder.path}: its manifest holds no recipe that this version reads; start from another one"
        ) from error
    # What an adapter's run had is taken over where a recipe has no key, so every key stays.
    further = known.get("adapter") is not None and stage == "finetune"
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=further, exclude_defaults=not further)
    if folder.path.resolve() != (below / _default_place(stage, values)).resolve():
        values["out"] = relative(folder.path, below)
    return text_of(values)


def shipped_recipes(stage: Stage) -> dict[str, str]:
    """Name → text of each recipe that ships, its template named so that it is found from everywhere."""
    folder = STAGES[stage].shipped
    found = {} if folder is None else {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
    return {name: _with_template(found[name]) for name in sorted(found)}


def run_to_merge(folder: Folder, root: Path, below: Path) -> str:
    """Options that merge the adapter of a training run into ``models/<name>`` of the data folder."""
    return text_of({"run": relative(folder.path, below), "out": relative(root / "models" / folder.name, below)})


def placed(text: str, stage: Stage, root: Path, below: Path) -> str:
    """A recipe whose result these pages show: with ``out`` in the data folder, unless it names one or goes there."""
    values = values_of(text)
    place = root / _default_place(stage, values).relative_to("data")
    if values.get("out") or (below / _default_place(stage, values)).resolve() == place.resolve():
        return text
    return text_of({**values, "out": relative(place, below)})


def _default_place(stage: Stage, values: dict[str, Any]) -> Path:
    return Path("data") / str(STAGES[stage].kind) / str(values.get("name", ""))


def _with_template(text: str) -> str:
    source = Path(dashboards.__file__).parents[1]
    values = values_of(text)
    template = values.get("chat_template")
    return text.replace(template, str(source / template)) if isinstance(template, str) else text


def relative(path: Path, below: Path) -> str:
    """As one would write it in a recipe."""
    return str(path.relative_to(below) if path.is_relative_to(below) else path)
