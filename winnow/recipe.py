"""Recipes: YAML files read into strict models; an unknown key is an error that names the nearest known ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from winnow.errors import UserError, did_you_mean
from winnow.strict_yaml import read_mapping


class StrictModel(BaseModel):
    """Base of every recipe model: frozen, and it refuses unknown keys.

    Attributes:
        RENAMED: former name of a key → its present name, for the error on a recipe that still uses the former.
    """

    RENAMED: ClassVar[dict[str, str]] = {}
    model_config = ConfigDict(extra="forbid", frozen=True)


Recipe = TypeVar("Recipe", bound=StrictModel)


def load_recipe(path: Path, model: type[Recipe]) -> Recipe:
    """Read a YAML file into ``model``.

    Raises:
        UserError: the file is no YAML mapping (``winnow.strict_yaml``), a key is unknown, or a value does not fit.
    """
    return parse_recipe(read_mapping(path), model, where=str(path))


def parse_recipe(values: dict[str, Any], model: type[Recipe], where: str) -> Recipe:
    """Validate ``values`` against ``model``; ``where`` opens the error sentence."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_problem(error, model)}") from error


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    # A misspelt key is also a missing one: name the spelling first.
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    place = [str(part) for part in problem["loc"]]
    dotted = ".".join(place)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, place[:-1])
        renamed = _renamed().get(place[-1])
        if renamed in known:
            return f"key {dotted!r} is now called {renamed!r}"
        return f"unknown key {dotted!r}; {did_you_mean(place[-1], known)}"
    if problem["type"] == "missing":
        return f"key {dotted!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    # The message of a check on a whole mapping names the cause; printing the mapping adds nothing.
    got = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r:.80})"
    return f"{dotted or 'recipe'}: {message}{got}"


def _renamed() -> dict[str, str]:
    """Former names of keys, of every recipe model in the program."""
    models, found = [StrictModel], dict[str, str]()
    while models:
        model = models.pop()
        found.update(model.RENAMED)
        models.extend(model.__subclasses__())
    return found


def _known_keys(model: type[BaseModel], place: list[str]) -> list[str]:
    """Keys of the model at ``place``, from the JSON schema of the whole recipe."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    nodes = [schema]
    for part in place:
        nodes = [child for node in nodes for child in _children(node, part, definitions)] or nodes
    keys = {key for node in nodes for key in node.get("properties", {})}
    return sorted(keys)


def _children(node: dict[str, Any], part: str, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    candidates = [node.get("properties", {}).get(part), node.get("additionalProperties"), node.get("items")]
    found: list[dict[str, Any]] = []
    for candidate in candidates:
        if isinstance(candidate, dict):
            found.extend(_resolved(candidate, definitions))
    return found


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return [definitions[node["$ref"].rsplit("/", 1)[-1]]]
    if options := node.get("anyOf") or node.get("oneOf"):
        return [found for option in options for found in _resolved(option, definitions)]
    return [node]
