"""YAML of strangers: what a mapping of plain values needs, and nothing that surprises or costs more than its length."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from winnow.errors import UserError

if TYPE_CHECKING:
    from yaml import SafeLoader as _FastLoader
else:  # libyaml's parser where PyYAML has it, about ten times as fast
    _FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_BYTES = 1 << 20
_LONGEST_TEXT, _LONGEST_KEY = 100_000, 1000
_DEEPEST = 32  # lists and mappings in each other
_MOST_VALUES = 50_000  # keys and values; a second's work
_TEXT = "tag:yaml.org,2002:str"


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file that is one mapping.

    Raises:
        UserError: no such file; it is empty, too large (1 MiB, 50,000 values), too deeply nested (32), no UTF-8, no
            YAML or no mapping; it has a key twice or one that is not text, an alias (``*name``) or a tag (``!name``).
    """
    return _loaded(path, _Loader)


def read_texts(path: Path) -> dict[str, Any]:
    """The same mapping with every value as the text that the file has: ``name: 0429`` is ``{"name": "0429"}``.

    Raises:
        UserError: as ``read_mapping``.
    """
    return _loaded(path, _TextLoader)


def _loaded(path: Path, loader: type[_FastLoader]) -> dict[str, Any]:
    text = _text(path)
    try:
        _check_events(text, path)
        loaded = yaml.load(text, Loader=loader)
    except yaml.constructor.ConstructorError as error:
        raise UserError(f"{path}{_line(error.problem_mark)}: {error.problem}") from error
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{path}{_line(error.problem_mark)}: not valid YAML: {_problem(error)}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:  # a date that does not exist, a number of 5,000 digits
        raise UserError(
            f"{path}: a value is not what it looks like ({str(error).split(';')[0]}); put it in quotes"
        ) from error
    if loaded is None:
        raise UserError(f"{path}: is empty; a recipe is a mapping of keys to values")
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values, this file is not")
    return loaded


def _text(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the path of a YAML file")
    if not path.is_file():
        raise UserError(f"{path}: no such recipe; give the path of a YAML file")
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise UserError(f"{path}: is larger than {_MOST_BYTES:,} bytes; this is no recipe")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        ) from error


def _check_events(text: str, path: Path) -> None:
    """Refuse aliases, tags, depth and length before any value is made of them."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_FastLoader):
        where = f"{path}{_line(event.start_mark)}"
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{where}: aliases (*{event.anchor:.40}) are not allowed; write the value out")
        if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag is not None:
            raise UserError(f"{where}: tags ({event.tag:.60}) are not allowed; write a plain value")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_TEXT:
            raise UserError(f"{where}: a value of more than {_LONGEST_TEXT:,} characters; this is no recipe")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        if depth > _DEEPEST:
            raise UserError(f"{where}: nested more than {_DEEPEST} deep; this is no recipe")
        if values > _MOST_VALUES:
            raise UserError(f"{where}: more than {_MOST_VALUES:,} keys and values; this is no recipe")


class _Loader(_FastLoader):
    """A safe loader that refuses a key that comes twice, or is not text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line, name = key.start_mark.line + 1, key.value
            problem = None
            if key.tag != _TEXT:
                shown = f"{name!r:.80}" if isinstance(key, yaml.ScalarNode) else "in brackets"
                problem = f"the key {shown} reads as {key.tag.rpartition(':')[2]}, not as text; put it in quotes"
            elif len(name) > _LONGEST_KEY:
                problem = f"a key of more than {_LONGEST_KEY:,} characters; this is no recipe"
            elif name in lines:
                problem = f"the key {name!r:.80} is there twice, in lines {lines[name]} and {line}; change one"
            if problem:
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            lines[name] = line
        return super().construct_mapping(node, deep)


class _TextLoader(_Loader):
    """Reads numbers, dates, yes and no as the texts that they are in the file."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # of PyYAML, which has no types


def _line(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "cannot be read"
    if problem == "but found another document":
        return "a second document begins; a recipe is one"
    if "cannot start any token" in problem:  # a tab, '@' or '`'
        return f"{problem} (indent with spaces, and put text that begins with a special character in quotes)"
    return problem
