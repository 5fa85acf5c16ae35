"""Where the images of a published layout lie, for downloads unpacked in any of the usual ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.readers.json import Value
from curate.sample import BadRow
from curate.settings import SourceSettings
from curate.sources.roots import given_root, is_file

_ROWS_TRIED = 50
Names = Callable[[Mapping[str, Any]], Sequence[str]]


@dataclass(frozen=True)
class Placing:
    """The answer.

    Attributes:
        root: the folder that image paths are relative to.
        name: gives a row's path below it, '' for a row without a picture.
    """

    root: Path
    name: Callable[[Mapping[str, Any]], str]


def place(
    settings: SourceSettings, rows: Iterable[Value | BadRow], names: Names, folders: Sequence[str] = ("images",)
) -> Placing:
    """The folder and the way of naming by which most of the first 50 rows' images exist.

    Args:
        names: a row's possible paths, always as many and in the same order, [] for none; the first
            is taken where no file tells. Raises ValueError for a row that names no image.
        folders: tried as image root after the location's own folder, in it and beside it.

    Raises:
        UserError: the recipe's ``image_root`` is not there.
    """
    location = Path(settings.location)
    folder = location if location.is_dir() else location.parent
    given = given_root(settings)
    beside = [base / name for base in (folder, folder.parent) for name in folders]
    roots = [given] if given is not None else [folder, *beside]
    first = [offered for row in itertools.islice(rows, _ROWS_TRIED) if (offered := _offered(row, names))]
    ways = range(max(map(len, first), default=1))
    _, root, way = max(
        ((_hits(root, way, first), root, way) for root in roots for way in ways), key=lambda found: found[0]
    )

    def name(row: Mapping[str, Any]) -> str:
        offered = names(row)
        return offered[way] if offered else ""

    return Placing(root, name)


def _offered(row: Value | BadRow, names: Names) -> Sequence[str]:
    if isinstance(row, BadRow) or not isinstance(row.value, dict):
        return []
    try:
        return names(row.value)
    except ValueError:
        return []


def _hits(root: Path, way: int, first: list[Sequence[str]]) -> int:
    return sum(is_file(root, names[way]) for names in first if way < len(names))
