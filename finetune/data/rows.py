"""The rows of a training set, read in place by number, and their images.

Only byte offsets are kept in memory. Images are opened as curation opened them: inside the image
root, upright, RGB, under the same caps.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode, locate
from winnow.records import Sample, from_record, parse_json
from winnow.run import MANIFEST, read_manifest

if TYPE_CHECKING:
    from PIL.Image import Image


def locate_data(data: Path, image_root: Path | None) -> tuple[Path, Path]:
    """JSONL file and image root of a data set: a curated folder, a JSONL file or a curated Parquet file.

    Raises:
        UserError: no such data, an unfinished curated folder, no such image root.
    """
    if data.is_file():
        curated = (data.parent / MANIFEST).is_file()
        manifest = read_manifest(data.parent, finish_with="curate run RECIPE") if curated else {}
        path, root = data, image_root or Path(manifest.get("image_root") or data.parent)
        if data.suffix == ".parquet":
            path = _kept_lines(data)
    else:
        manifest = read_manifest(data, finish_with="curate run RECIPE")
        path, root = data / "samples.jsonl", image_root or Path(manifest.get("image_root", data))
        if not path.is_file():
            raise UserError(f"{path}: no such file; {data} is not a folder that `curate run` made")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set image_root to the folder that the image paths are relative to")
    return path, root.resolve()


def _kept_lines(parquet: Path) -> Path:
    """Writes the records of a curated Parquet file that were not dropped to a temporary JSONL file.

    Raises:
        UserError: not a Parquet file, or without the columns ``record`` and ``decision``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(tempfile.mkdtemp(prefix="winnow-rows-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with pq.ParquetFile(parquet) as file, (folder / "rows.jsonl").open("w", encoding="utf-8") as lines:
            if missing := {"record", "decision"} - set(file.schema_arrow.names):
                raise UserError(
                    f"{parquet}: has no column {sorted(missing)[0]!r}; give samples.parquet of `curate run`"
                )
            for batch in file.iter_batches(columns=["record", "decision"]):
                kept = batch.filter(pa.compute.not_equal(batch["decision"], "drop"))
                lines.writelines(f"{record}\n" for record in kept["record"].to_pylist())
    except pa.ArrowInvalid as error:
        raise UserError(f"{parquet}: is not a Parquet file ({error})") from error
    return folder / "rows.jsonl"


def line_offsets(path: Path) -> np.ndarray:
    """Byte offset of each non-empty line, int64 (lines,)."""
    offsets, position = [], 0
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                offsets.append(position)
            position += len(line)
    return np.array(offsets, dtype=np.int64)


@dataclass(frozen=True)
class DataSet:
    """A file of rows.

    Attributes:
        name: its name in the recipe; empty if the recipe gives a single path.
        given: the file or folder that the recipe names.
        path: the same rows as a JSONL file.
        prefix: its image root relative to the common image root; empty if they are the same.
        offsets: byte offset of each non-empty line, int64 (lines,).
    """

    name: str
    given: Path
    path: Path
    prefix: str
    offsets: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Samples by row number, counted across all data sets.

    Attributes:
        sets: the data sets in the recipe's order.
        image_root: folder that all image paths are relative to.
        starts: number of the first row of each set, then the number of rows; int64 (sets + 1,).
    """

    sets: tuple[DataSet, ...]
    image_root: Path
    starts: np.ndarray

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _place(self, row: int) -> tuple[DataSet, int]:
        """The data set of a row, and the row's number in that set."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.sets[number], row - int(self.starts[number])

    def set_of(self, row: int) -> str:
        """Name of the data set that the row belongs to."""
        return self._place(row)[0].name

    def where(self, row: int) -> str:
        """File and row number, for error messages."""
        chosen, number = self._place(row)
        return f"{chosen.given} row {number + 1}"

    def __getitem__(self, row: int) -> Sample:
        """The sample of row ``row``; its image paths are relative to ``image_root``.

        Raises:
            UserError: the line is not a JSON object, or the object is not a sample.
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
    """``prefix/name``; an absolute name stays as it is and is refused when it is opened."""
    return name if name.startswith("/") else f"{prefix}/{name}"


def open_rows(recipe: TrainRecipe) -> Rows:
    """The recipe's training rows.

    Raises:
        UserError: no such data, an unfinished curated folder, no such image root, no rows.
    """
    data = recipe.data if isinstance(recipe.data, dict) else {"": recipe.data}
    return open_sets(data, recipe.image_root)


def open_sets(data: Mapping[str, Path], image_root: Path | None) -> Rows:
    """Rows of curated folders, JSONL files and curated Parquet files, in this order.

    Args:
        data: name → folder or file.
        image_root: overrides the image root of all of them.

    Raises:
        UserError: as ``open_rows``.
    """
    located = [(name, path, *locate_data(path, image_root)) for name, path in data.items()]
    if not located:
        raise UserError("data: name at least one data set")
    roots = [root for *_, root in located]
    common = Path(os.path.commonpath(roots))
    sets = []
    for name, given, path, root in located:
        prefix = root.relative_to(common).as_posix()
        sets.append(DataSet(name, given, path, "" if prefix == "." else prefix, line_offsets(path)))
    starts = np.cumsum([0, *(len(data_set.offsets) for data_set in sets)])
    for data_set in sets:
        if not len(data_set.offsets):
            raise UserError(f"{data_set.given}: holds no rows")
    return Rows(tuple(sets), common, starts)


def open_image(root: Path, name: str, max_pixels: int | None = None) -> Image:
    """Decode an image below ``root``, upright and in RGB; the first frame of an animation.

    Args:
        root: the image root, resolved.
        max_pixels: a larger image is scaled down to this area, see ``capped_size``.

    Raises:
        ValueError: a class of ``winnow.images.CLASSES`` with its detail.
    """
    located = locate(name, str(root), max_bytes=DEFAULT_MAX_BYTES)
    if located.file is None:
        raise ValueError(f"{located.error} ({located.detail})")
    image, facts = decode(Path(located.file).read_bytes(), max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    if image is None:
        raise ValueError(f"{facts.error} ({facts.error_detail})")
    size = capped_size(image.size, max_pixels)
    return image if size == image.size else image.resize(size)


def capped_size(size: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    """(width, height) scaled down to an area of at most ``max_pixels``, aspect ratio kept, sides at least 1."""
    width, height = size
    if max_pixels is None or width * height <= max_pixels:
        return size
    scale = math.sqrt(max_pixels / (width * height))
    width, height = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    height = max(1, min(height, max_pixels // width))  # a thin strip: one side is 1, the other still too long
    return min(width, max_pixels // height), height
