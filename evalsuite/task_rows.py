"""What a task takes from a row's ``meta``: options of a multiple choice, values to slice by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, field_validator

from curate.sources.cells import list_literal
from winnow.recipe import StrictModel


class Slice(StrictModel):
    """A slice by a number, in ranges.

    Attributes:
        name: of the slice.
        key: of ``meta``; dots go into objects. A list or an object counts by its length.
        bins: rising upper ends; ``[0, 5, 20]`` makes 0, 1-5, 6-20 and 21+.
    """

    name: Annotated[str, Field(pattern=r"^\w+$")]
    key: str
    bins: Annotated[list[int], Field(min_length=1)]

    @field_validator("bins")
    @classmethod
    def _rising(cls, value: list[int]) -> list[int]:
        if any(one >= two for one, two in pairwise(value)):
            raise ValueError("bins must rise")
        return value


_PLACE = re.compile(r"\{(\w+)\}")


def filled(prompt: str, values: Mapping[str, Any]) -> str:
    """The prompt with ``{key}`` replaced by that value, lists joined by commas; unknown keys stay as they are."""

    def value(place: re.Match[str]) -> str:
        found = values.get(place[1])
        if found is None:
            return place[0]
        return ", ".join(map(str, found)) if isinstance(found, list) else str(found)

    return _PLACE.sub(value, prompt)


def places(prompt: str) -> set[str]:
    """Keys that the prompt asks for."""
    return set(_PLACE.findall(prompt))


def slices_of(meta: Mapping[str, Any], slices: Sequence[str | Slice]) -> dict[str, str]:
    """Slice name → value as text; slices that the row has no value for are left out."""
    found: dict[str, str] = {}
    for one in slices:
        value = _at(meta, one if isinstance(one, str) else one.key)
        if isinstance(one, str):
            if value is not None and not isinstance(value, list | dict):
                found[slice_name(one)] = str(value)
        elif isinstance(value, list | dict):
            found[one.name] = _range(len(value), one.bins)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[one.name] = _range(value, one.bins)
    return found


def slice_name(one: str | Slice) -> str:
    """What the slice is called; of a key with dots the last part."""
    return one.rpartition(".")[2] if isinstance(one, str) else one.name


def _at(meta: Mapping[str, Any], key: str) -> Any:
    value: Any = meta
    for part in (key,) if key in meta else key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _range(value: float, bins: Sequence[int]) -> str:
    for low, high in zip([None, *bins], bins, strict=False):
        if value <= high:
            return str(high) if low is None or high == low + 1 else f"{low + 1}-{high}"
    return f"{bins[-1] + 1}+"


def options_of(meta: Mapping[str, Any], key: str | None) -> tuple[str, ...]:
    """Texts of a row's options: a list, or one written as text as MMMU has it; none without the key."""
    value = meta.get(key) if key else None
    listed = list_literal(value) if isinstance(value, str) else value
    return tuple(str(one) for one in listed) if isinstance(listed, list | tuple) else ()
