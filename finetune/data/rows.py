"""The rows of a training set: read where they lie, one at a time, by number."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from curate.jsonl import parse_json
from curate.sample import Sample
from finetune.locate import line_offsets, locate
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.records import from_record


@dataclass(frozen=True)
class DataSet:
    """One file of rows.

    Attributes:
        name: its name in the recipe; empty if it is the only one.
        given: the file or folder that the recipe names.
        path: JSONL file, the same rows.
        prefix: its image root relative to the common one; empty if that is it.
        offsets: start of each non-empty line, int64, in bytes.
    """

    name: str
    given: Path
    path: Path
    prefix: str
    offsets: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Records by row number, counted through all data sets; only their byte offsets are in memory.

    Attributes:
        sets: the data sets in the recipe's order.
        image_root: folder below which all rows' images lie.
        starts: number of each set's first row, and the number of all rows at the end.
    """

    sets: tuple[DataSet, ...]
    image_root: Path
    starts: np.ndarray

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _place(self, row: int) -> tuple[DataSet, int]:
        """Data set of a row, and its number there."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.sets[number], row - int(self.starts[number])

    def set_of(self, row: int) -> str:
        """Name of the data set that row ``row`` belongs to."""
        return self._place(row)[0].name

    def where(self, row: int) -> str:
        """File and row for an error."""
        chosen, number = self._place(row)
        return f"{chosen.given} row {number + 1}"

    def __getitem__(self, row: int) -> Sample:
        """The sample of row ``row``; its image paths are relative to ``image_root``.

        Raises:
            UserError: the line is no JSON object or no sample.
        """
        chosen, number = self._place(row)
        with chosen.path.open("rb") as handle:
            handle.seek(int(chosen.offsets[number]))
            line = handle.readline()
        try:
            record = parse_json(line)
        except ValueError as error:
            raise UserError(f"{self.where(row)}: not a JSON object ({error})") from error
        if not isinstance(record, dict):
            raise UserError(f"{self.where(row)}: not a JSON object")
        sample = from_record(record, where=self.where(row))
        if not chosen.prefix:
            return sample
        return replace(sample, image=tuple(_below(chosen.prefix, name) for name in sample.image))


def _below(prefix: str, name: str) -> str:
    """``prefix/name``; an absolute name stays what it is and is refused when it is opened."""
    return name if name.startswith("/") else f"{prefix}/{name}"


def open_rows(recipe: TrainRecipe) -> Rows:
    """The recipe's training rows.

    Raises:
        UserError: no such data, an unfinished curated folder, no such image root, no rows.
    """
    data = recipe.data if isinstance(recipe.data, dict) else {"": recipe.data}
    return open_sets(data, recipe.image_root)


def open_sets(data: Mapping[str, Path], image_root: Path | None) -> Rows:
    """Rows of curated folders, JSONL files and curated Parquet files, one after the other.

    Args:
        data: name → folder or file.
        image_root: overrides the image root of all of them.

    Raises:
        UserError: as ``open_rows``.
    """
    located = [(name, path, *locate(path, image_root)) for name, path in data.items()]
    if not located:
        raise UserError("data: names no data set")
    roots = [root for *_, root in located]
    common = Path(os.path.commonpath(roots))
    sets = []
    for name, given, path, root in located:
        prefix = root.relative_to(common).as_posix()
        sets.append(DataSet(name, given, path, "" if prefix == "." else prefix, line_offsets(path)))
    starts = np.cumsum([0, *(len(part.offsets) for part in sets)])
    for part in sets:
        if not len(part.offsets):
            raise UserError(f"{part.given}: holds no rows to train on")
    return Rows(tuple(sets), common, starts)


def matches(sample: Sample, data: str, where: Mapping[str, str | list[str]]) -> bool:
    """Whether every field of ``where`` has one of its allowed values.

    Args:
        data: name of the data set that the sample belongs to.

    Raises:
        UserError: a field that is not ``id``, ``source``, ``split``, ``data`` or ``meta.<key>``.
    """
    for field, allowed in where.items():
        if field in ("id", "source", "split"):
            value = getattr(sample, field)
        elif field == "data":
            value = data
        elif field.startswith("meta."):
            value = sample.meta.get(field.removeprefix("meta."))
        else:
            raise UserError(f"where: unknown field {field!r}; known: id, source, split, data, meta.<key>")
        if str(value) not in ([allowed] if isinstance(allowed, str) else allowed):
            return False
    return True
