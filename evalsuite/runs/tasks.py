"""The tasks of a recipe, with what the recipe sets of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.reading.read import Extraction
from evalsuite.recipe import EvalRecipe
from evalsuite.tasks.load import Task, load_task
from evalsuite.tasks.spec import Generation, TaskSpec, load_spec
from winnow.errors import UserError, did_you_mean
from winnow.recipe import parse_recipe


def load_tasks(recipe: EvalRecipe) -> dict[str, Task]:
    """The recipe's tasks with their rows, by name.

    Raises:
        UserError: see ``specs_of`` and ``evalsuite.tasks.load.load_task``.
    """
    specs = specs_of(recipe)
    return {name: load_task(spec, limit=limit_of(recipe, name), seed=recipe.seed) for name, spec in specs.items()}


def specs_of(recipe: EvalRecipe) -> dict[str, TaskSpec]:
    """The recipe's tasks by name, with its ``generation`` and ``extraction``.

    Raises:
        UserError: no such task, two of one name, or a setting that is unknown or does not fit a task.
    """
    specs: dict[str, TaskSpec] = {}
    for given in recipe.tasks:
        spec = load_spec(given)
        if spec.name in specs:
            raise UserError(f"two tasks are named {spec.name!r}; give one of them another name")
        specs[spec.name] = spec
    limits = recipe.limit if isinstance(recipe.limit, dict) else {}
    for key, given_keys, fields in (
        ("generation", recipe.generation, Generation.model_fields),
        ("extraction", recipe.extraction, Extraction.model_fields),
        ("limit", limits, {}),
    ):
        if unknown := [name for name in given_keys if name not in fields and name not in specs]:
            hint = did_you_mean(unknown[0], [*fields, *specs])
            raise UserError(f"recipe {recipe.name}: {key}: {unknown[0]!r} is neither a setting nor a task; {hint}")
    return {name: _checked(_changed(spec, recipe)) for name, spec in specs.items()}


def limit_of(recipe: EvalRecipe, task: str) -> int | None:
    """Rows to ask of a task at most; None asks all."""
    return recipe.limit.get(task) if isinstance(recipe.limit, dict) else recipe.limit


def _changed(spec: TaskSpec, recipe: EvalRecipe) -> TaskSpec:
    """The task with the settings of the recipe in place of its own, key by key."""
    values = spec.to_json()
    for key, given, fields in (
        ("generation", recipe.generation, Generation.model_fields),
        ("extraction", recipe.extraction, Extraction.model_fields),
    ):
        wanted = _wanted(given, spec.name, fields, f"recipe {recipe.name}: {key}")
        if wanted.get("kind", values[key].get("kind")) != values[key].get("kind"):
            values[key] = wanted  # another kind of answer: nothing of the task's own reading applies
        else:
            values[key] = {**values[key], **wanted}
    return parse_recipe(values, TaskSpec, where=f"recipe {recipe.name}: task {spec.name}")


def _wanted(given: Mapping[str, Any], task: str, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    own = given.get(task, {}) if task not in fields else {}
    if not isinstance(own, dict):
        raise UserError(f"{where}: {task}: give a mapping of settings, such as {{{next(iter(fields))}: …}}")
    return {**{name: value for name, value in given.items() if name in fields}, **own}


def _checked(spec: TaskSpec) -> TaskSpec:
    if spec.samples > 1 and not spec.generation.temperature:
        raise UserError(
            f"task {spec.name}: samples: {spec.samples} needs a temperature above 0, because without sampling every "
            "answer is the same; write `generation: {temperature: 0.7}`"
        )
    return spec
