"""A recipe's values as what stands in the fields of a form, and back.

A key that is left out and one that is set to its default differ: a recipe that trains an adapter further takes keys
that are left out from that adapter's run. So an empty field leaves its key out, and a field that nobody changed leaves
its key as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from dashboards.jobs.fields import Field, leaves, sections
from dashboards.jobs.recipe_text import text_of, value_of
from winnow.errors import UserError

# In a field: a text ('' is empty), yes or no or neither, a choice or none, a list of texts; for an optional section
# whether it is there.
Entry = str | int | bool | tuple[str, ...] | None
Entries = dict[tuple[str, ...], Entry]
_ABSENT = object()


def entries_of(fields: tuple[Field, ...], values: Mapping[str, Any]) -> Entries:
    """What stands in each field for a recipe's values."""
    found: Entries = {field.path: _entry(field, _at(values, field.path)) for field in leaves(fields)}
    for section in sections(fields):
        if section.optional:
            found[section.path] = isinstance(_at(values, section.path), dict)
    return found


def values_of_entries(fields: tuple[Field, ...], base: Mapping[str, Any], entries: Entries) -> dict[str, Any]:
    """The recipe's values after the form: those of ``base``, changed where a field was changed.

    Raises:
        UserError: what stands in a field is no YAML; names the key.
    """
    values, before = deepcopy(dict(base)), entries_of(fields, base)
    for section in sections(fields):
        if section.optional and entries[section.path] != before[section.path]:
            _put(values, section.path, {} if entries[section.path] else _ABSENT)
    off = [section.path for section in sections(fields) if section.optional and not entries[section.path]]
    for field in leaves(fields):
        inside_off = any(field.path[: len(path)] == path for path in off)
        if not inside_off and entries[field.path] != before[field.path]:
            _put(values, field.path, _value(field, entries[field.path]))
    return _without_new_empty(values, base, fields)


def _entry(field: Field, value: Any) -> Entry:
    empty = value is _ABSENT or value is None
    if field.kind == "switch":
        return value if isinstance(value, bool) else None
    if field.kind == "choice":
        return value if not empty and value in field.choices else None
    if field.kind == "texts":
        return () if empty or isinstance(value, str) else tuple(map(str, value))
    if field.kind == "text":
        return "" if empty else str(value)
    return "" if empty else text_of(value).strip()


def _value(field: Field, entry: Entry) -> Any:
    if entry is None or entry in ("", ()):
        return _ABSENT
    if isinstance(entry, tuple):
        return list(entry)
    if field.kind in ("number", "yaml") and isinstance(entry, str):
        try:
            value = value_of(entry)
        except UserError as error:
            raise UserError(f"{'.'.join(field.path)}: {error}") from error
        return _ABSENT if value is None else value
    return entry


def _at(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = values
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return _ABSENT
        found = found[key]
    return found


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *above, last = path
    for key in above:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    if value is _ABSENT:
        values.pop(last, None)
    else:
        values[last] = value


def _without_new_empty(values: dict[str, Any], base: Mapping[str, Any], fields: tuple[Field, ...]) -> dict[str, Any]:
    """Leave out sections that became empty; an optional one stays, as empty takes the defaults."""
    for section in reversed(sections(fields)):
        if not section.optional and _at(values, section.path) == {} and _at(base, section.path) != {}:
            _put(values, section.path, _ABSENT)
    return values
