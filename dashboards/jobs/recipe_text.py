"""Recipes as text and as values, without a file."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from winnow.errors import UserError
from winnow.strict_yaml import read_mapping, read_texts


def values_of(text: str) -> dict[str, Any]:
    """The keys and values of a recipe; none for an empty text.

    Raises:
        UserError: it is no YAML mapping of plain values (``winnow.strict_yaml``).
    """
    return _read(text, read_mapping) if text.strip() else {}


def texts_of(text: str) -> dict[str, Any]:
    """The same with every value as it is written; raises as ``values_of``."""
    return _read(text, read_texts) if text.strip() else {}


def value_of(text: str) -> Any:
    """One value in YAML, such as ``2`` or ``{a: 1}``; None for an empty text.

    Raises:
        UserError: as ``values_of``; lines are those of ``text``.
    """
    if not text.strip():
        return None
    try:
        return values_of("value:\n" + indent(text, "  ", lambda _: True) + "\n")["value"]
    except UserError as error:
        last = text.count("\n") + 1
        sentence = re.sub(r"^recipe, line (\d+)", lambda line: f"line {min(int(line[1]) - 1, last)}", str(error))
        raise UserError(sentence) from error


def text_of(values: Any) -> str:
    """Values as YAML, in their order; innermost lists and mappings on one line each."""
    text = _dumped(values, allow_unicode=True)
    # PyYAML writes this line break as it is, and reads a blank.
    return _dumped(values, allow_unicode=False) if "\x85" in text else text


def _dumped(values: Any, *, allow_unicode: bool) -> str:
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode, width=110, default_flow_style=None
    ).removesuffix("...\n")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Recipes have no aliases."""
        return True


def _read(text: str, reader: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe"
        path.write_text(text, encoding="utf-8")
        try:
            found: dict[str, Any] = reader(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), "recipe")) from error
    return found
