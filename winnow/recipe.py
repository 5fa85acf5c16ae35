"""Recipes: YAML files read into strict models; an unknown key is an error that names the nearest known ones.

Where a model wants text, what YAML takes for a number, a date or yes and no is the text that the file has.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, ValidationError, model_validator

from winnow.errors import UserError, did_you_mean
from winnow.remote.addresses import address, is_remote, redacted
from winnow.strict_yaml import read_mapping, read_texts

_WANTS_TEXT = {"string_type", "path_type", "literal_error"}  # pydantic's errors on a value that is no text


def _as_written(place: Path) -> str:
    return address(place) if is_remote(place) else str(place)


def _checked(place: Path) -> Path:
    try:
        return Path(_as_written(place))
    except UserError as error:
        raise ValueError(str(error)) from error


# A folder here or on object storage, whose address a `Path` holds with one slash only.
Place = Annotated[Path, AfterValidator(_checked), PlainSerializer(_as_written, return_type=str, when_used="json")]


class StrictModel(BaseModel):
    """Base of every recipe model: frozen, and it refuses unknown keys.

    A path that is an address on object storage is refused where the field is no ``Place``: it would be taken for a
    folder of this machine called ``s3:``.

    Attributes:
        RENAMED: former name of a key → its present name, for the error on a recipe that still uses the former.
    """

    RENAMED: ClassVar[dict[str, str]] = {}
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _paths_are_here(self) -> Self:
        for name, field in type(self).model_fields.items():
            for path in _paths(getattr(self, name)):
                if is_remote(path) and _as_written not in _serializers(field.annotation, field.metadata):
                    raise ValueError(f"{name}: {address(path)} is on object storage; give a path of this machine")
        return self

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        for name in type(self).model_fields:
            if _largest(getattr(self, name)).bit_length() > 63:
                raise ValueError(f"{name}: a whole number of more than 64 bits; give a smaller one")
        return self


def _largest(value: Any) -> int:
    """The largest whole number in the value of a field, without its sign; 0 without one."""
    if isinstance(value, int):
        return abs(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return max(map(_largest, inner), default=0)


def _paths(value: Any) -> list[Path]:
    """The paths in the value of a field."""
    if isinstance(value, Path):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [each for each in inner if isinstance(each, Path)]


def _serializers(annotation: Any, metadata: Sequence[Any]) -> list[Any]:
    """The functions that write a field, wherever in its annotation they stand."""
    found = [each.func for each in metadata if isinstance(each, PlainSerializer)]
    inner = [_serializers(each, getattr(each, "__metadata__", ())) for each in get_args(annotation)]
    return found + [function for functions in inner for function in functions]


Recipe = TypeVar("Recipe", bound=StrictModel)


def load_recipe(path: Path, model: type[Recipe]) -> Recipe:
    """Read a YAML file into ``model``.

    Raises:
        UserError: the file is no YAML mapping (``winnow.strict_yaml``), a key is unknown, or a value does not fit.
    """
    return parse_recipe(read_mapping(path), model, where=str(path), texts=read_texts(path))


def parse_recipe(
    values: dict[str, Any], model: type[Recipe], where: str, texts: dict[str, Any] | None = None
) -> Recipe:
    """Validate ``values`` against ``model``.

    Args:
        where: opens the error sentence.
        texts: the same values as they are written (``read_texts``): taken where ``model`` wants text.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        if texts is not None and (meant := _with_texts(values, texts, error)) is not None:
            return parse_recipe(meant, model, where, texts)
        raise UserError(f"{where}: {_first_problem(error, model)}") from error


def _with_texts(values: dict[str, Any], texts: dict[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """The values with texts where the error misses them; None if no value can be taken as text."""
    places = [found["loc"] for found in error.errors() if found["type"] in _WANTS_TEXT]
    changed = deepcopy(values)
    return changed if [place for place in places if _put_text(changed, texts, place)] else None


def _put_text(values: Any, texts: Any, place: Sequence[str | int]) -> bool:
    """Put the text of ``texts`` at that place of ``values``, if there is a number, a date, yes or no."""
    for key in place:
        try:
            value, text = values[key], texts[key]
        except (KeyError, IndexError, TypeError):
            continue  # pydantic also names the alternative that it tried
        if isinstance(value, dict | list):
            values, texts = value, text
        elif value is None or isinstance(value, str):
            return False
        else:
            values[key] = text
            return True
    return False


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
    got = "" if isinstance(problem["input"], dict) else f" (got {redacted(repr(problem['input'])):.80})"
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
