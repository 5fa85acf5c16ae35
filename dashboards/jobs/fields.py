"""The keys of a recipe as fields of a form, from the stage's own pydantic models and their docstrings."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

Kind = Literal["text", "number", "choice", "switch", "texts", "yaml", "section"]


@dataclass(frozen=True)
class Field:
    """One key of a recipe.

    Attributes:
        path: keys from the top of the recipe to this one.
        kind: ``text``; ``number``; ``choice`` of a few texts; ``switch``, yes or no; ``texts``, a list of them;
            ``yaml``, anything else; ``section``, a mapping with fields of its own.
        help: what it means, from the docstring of its model.
        default: what a recipe without the key has, in words; '' if it has nothing or the key is required.
        choices: of a ``choice``.
        wide: a list or mapping, which needs lines; other ``yaml`` may also be a number or a word.
        optional: a section that may be left out, which differs from an empty one.
        fields: of a ``section``.
    """

    path: tuple[str, ...]
    kind: Kind
    help: str
    required: bool
    default: str
    choices: tuple[str | int, ...] = ()
    wide: bool = False
    optional: bool = False
    fields: tuple[Field, ...] = ()


@functools.cache
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """All keys of a recipe, in the order of its model."""
    return _fields(model, ())


def leaves(fields: tuple[Field, ...]) -> list[Field]:
    """The fields that hold a value, of all sections."""
    return [leaf for field in fields for leaf in (leaves(field.fields) if field.kind == "section" else [field])]


def sections(fields: tuple[Field, ...]) -> list[Field]:
    """The sections, outer ones first."""
    return [each for field in fields if field.kind == "section" for each in (field, *sections(field.fields))]


def _fields(model: type[BaseModel], above: tuple[str, ...]) -> tuple[Field, ...]:
    schema = model.model_json_schema()
    described = _described(model)
    return tuple(
        _field(model, name, schema["properties"][name], schema, described.get(name, ""), above)
        for name in model.model_fields
    )


def _field(
    model: type[BaseModel], name: str, node: dict[str, Any], schema: dict[str, Any], help: str, above: tuple[str, ...]
) -> Field:
    path, required = (*above, name), name in schema.get("required", ())
    forms = [form for form in _forms(node, schema) if form.get("type") != "null"]
    section = _section(model.model_fields[name].annotation)
    if section is not None:
        optional = len(_forms(node, schema)) > len(forms)
        return Field(path, "section", help, required, "", optional=optional, fields=_fields(section, path))
    kind, choices = _kind(forms)
    wide = all(form.get("type") in ("array", "object") for form in forms)
    return Field(path, kind, _with_bounds(help, forms), required, _in_words(node.get("default")), choices, wide)


def _forms(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _forms(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    if several := node.get("anyOf"):
        return [form for each in several for form in _forms(each, schema)]
    return [node]


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a mapping whose keys are known; None for everything else."""
    if get_origin(annotation) in (Union, UnionType):
        given = [form for form in get_args(annotation) if form is not type(None)]
        annotation = given[0] if len(given) == 1 else None
    if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
        return None
    # A model that rearranges its keys is written as the recipes write it.
    validators = annotation.__pydantic_decorators__.model_validators.values()
    return None if any(validator.info.mode == "before" for validator in validators) else annotation


def _kind(forms: list[dict[str, Any]]) -> tuple[Kind, tuple[str | int, ...]]:
    if len(forms) != 1:
        return "yaml", ()
    form = forms[0]
    if choices := form.get("enum") or ([form["const"]] if "const" in form else None):
        return "choice", tuple(choices)
    if form.get("type") == "array" and form.get("items", {}).get("type") == "string":
        return ("yaml", ()) if "enum" in form["items"] else ("texts", ())
    kinds: dict[str, Kind] = {"string": "text", "integer": "number", "number": "number", "boolean": "switch"}
    return kinds.get(str(form.get("type")), "yaml"), ()


_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def _with_bounds(help: str, forms: list[dict[str, Any]]) -> str:
    bounds = [f"{word} {form[key]:g}" for form in forms for key, word in _BOUNDS.items() if key in form]
    return f"{help} ({' and '.join(bounds)})".strip() if bounds and len(forms) == 1 else help


def _in_words(default: Any) -> str:
    if default is None or default in ({}, []):
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


def _described(model: type[BaseModel]) -> dict[str, str]:
    """Key → its sentence under ``Attributes:`` of the docstring, of the model or of one that it builds on."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if one is BaseModel or not (isinstance(one, type) and issubclass(one, BaseModel)) or not one.__doc__:
            continue
        _, _, attributes = inspect.cleandoc(one.__doc__).partition("Attributes:\n")
        for names, text in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE):
            sentence = re.sub(r"``(.+?)``", r"\1", " ".join(text.split())).removesuffix("; or")
            found.update(dict.fromkeys(names.split(", "), sentence))
    return found
