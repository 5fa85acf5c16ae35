"""The rows of a training set: read where they lie, one at a time, by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import UserError
from curate.manifest import MANIFEST, read_manifest
from curate.sample import Sample, from_record, parse_json
from finetune.recipe import TrainRecipe


@dataclass(frozen=True)
class Rows:
    """Records of a JSONL file by row number; only their byte offsets are in memory.

    Attributes:
        path: the JSONL file.
        image_root: folder below which the rows' images lie.
        offsets: start of each non-empty line, int64, in bytes.
    """

    path: Path
    image_root: Path
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> Sample:
        """The sample of row ``row``.

        Raises:
            UserError: the line is no JSON object or no sample.
        """
        with self.path.open("rb") as handle:
            handle.seek(int(self.offsets[row]))
            line = handle.readline()
        where = f"{self.path} row {row + 1}"
        try:
            record = parse_json(line)
        except ValueError as error:
            raise UserError(f"{where}: not a JSON object ({error})") from error
        if not isinstance(record, dict):
            raise UserError(f"{where}: not a JSON object")
        return from_record(record, where=where)


def open_rows(recipe: TrainRecipe) -> Rows:
    """The recipe's rows: ``samples.jsonl`` of a finished curated folder, or a JSONL file.

    Raises:
        UserError: no such data, an unfinished curated folder, no such image root, no rows.
    """
    data = recipe.data
    if data.is_file():
        path, root = data, recipe.image_root or data.parent
    else:
        manifest = read_manifest(data, finish_with="curate run RECIPE")
        path, root = data / "samples.jsonl", recipe.image_root or Path(manifest.get("image_root", data))
        if not path.is_file():
            raise UserError(f"{path}: no such file; {data / MANIFEST} is no manifest of `curate run`")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set image_root to the folder below which the images lie")
    rows = Rows(path, root.resolve(), _line_offsets(path))
    if not len(rows):
        raise UserError(f"{path}: holds no rows to train on")
    return rows


def _line_offsets(path: Path) -> np.ndarray:
    offsets, position = [], 0
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                offsets.append(position)
            position += len(line)
    return np.array(offsets, dtype=np.int64)


def matches(sample: Sample, where: Mapping[str, str | list[str]]) -> bool:
    """Whether every field of ``where`` has one of its allowed values.

    Raises:
        UserError: a field that is not ``id``, ``source``, ``split`` or ``meta.<key>``.
    """
    for field, allowed in where.items():
        if field in ("id", "source", "split"):
            value = getattr(sample, field)
        elif field.startswith("meta."):
            value = sample.meta.get(field.removeprefix("meta."))
        else:
            raise UserError(f"where: unknown field {field!r}; known: id, source, split, meta.<key>")
        if str(value) not in ([allowed] if isinstance(allowed, str) else allowed):
            return False
    return True
