"""The rows of a training set, read in place by number, and their images.

Only byte offsets are kept in memory. Files in other forms than JSON lines are written to temporary JSON lines once.
Images are opened as curation opened them: inside the image root, upright, RGB, under the same caps.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode
from winnow.media.locate import is_url, locate, unavailable_class
from winnow.remote.addresses import local
from winnow.remote.downloads import is_remote, local_data
from winnow.remote.published import brought
from winnow.rows.lines import MAX_LINE, numbered_lines, parse_json
from winnow.rows.records import Sample, from_record
from winnow.run import MANIFEST, read_manifest
from winnow.vlm.inputs import scaled_down

if TYPE_CHECKING:
    from PIL.Image import Image


class RowError(UserError):
    """A row that cannot be used, with its id or place, what is wrong and what to do.

    Where a data loader raises it again with its worker's traceback as text, only the sentence is kept.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.rpartition(f"{RowError.__qualname__}: ")[2].strip())


def locate_data(data: Path, image_root: Path | None) -> tuple[Path, Path]:
    """JSONL file and image root of a data set: a curated folder, a file of JSON or curated Parquet, here or remote.

    Raises:
        UserError: no such data, an unfinished curated folder, no such image root, a file in another format.
    """
    data = brought(data)
    if is_remote(str(data)):
        data, folder = local_data(str(data))
        image_root = image_root or folder  # a manifest names the image root of the machine that made it
    if data.is_file():
        curated = (data.parent / MANIFEST).is_file()
        manifest = read_manifest(data.parent, finish_with="curate run RECIPE") if curated else {}
        path, root = data, image_root or local(manifest.get("image_root") or data.parent)
        path = _kept_lines(data) if data.suffix == ".parquet" else as_lines(data)
    else:
        manifest = read_manifest(data, finish_with="curate run RECIPE")
        path, root = data / "samples.jsonl", image_root or local(manifest.get("image_root", data))
        if not path.is_file():
            raise UserError(f"{path}: no such file; {data} is not a folder that `curate run` made")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set image_root to the folder that the image paths are relative to")
    return path, root.resolve()


def as_lines(path: Path) -> Path:
    """The file itself if it is JSON lines in UTF-8, else a temporary file of JSON lines with its rows.

    Read are JSON lines, a JSON array, and an object that holds the rows; in any encoding, packed with gzip or not.

    Raises:
        UserError: something else, or broken JSON outside a line.
    """
    from curate.readers.files.encoding import encoding_of, is_gzip, open_utf8
    from curate.readers.files.json import RawRow, iter_json
    from curate.readers.files.rows import is_json, text_start
    from curate.readers.files.unreadable import what_it_is

    with path.open("rb") as handle:
        trouble = what_it_is(handle.read(4096))
    if trouble:
        raise UserError(f"{path}: {'holds no rows' if trouble == 'is empty' else trouble}")
    if not is_json(text_start(path)) and path.suffix != ".jsonl":
        raise UserError(f"{path}: is not JSON; give JSON lines, a JSON array of rows, or a folder of `curate run`")
    plain = encoding_of(path) == "utf-8" and not is_gzip(path)
    found = iter_json(path)
    if plain and found.form == "lines":
        return path
    lines_path = _temporary_lines()
    with lines_path.open("wb") as lines:
        if found.form == "lines":
            with open_utf8(path) as text:
                shutil.copyfileobj(text, lines)
        else:
            for row in found:
                value = row.value if isinstance(row, RawRow) else row.reason
                lines.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return lines_path


def _temporary_lines() -> Path:
    """A file that is deleted when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="winnow-rows-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "rows.jsonl"


def _kept_lines(parquet: Path) -> Path:
    """Writes the records of a curated Parquet file that were not dropped to a temporary JSONL file.

    Raises:
        UserError: not a Parquet file, or without the columns ``record`` and ``decision``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _temporary_lines()
    try:
        with pq.ParquetFile(parquet) as file, path.open("w", encoding="utf-8") as lines:
            if missing := {"record", "decision"} - set(file.schema_arrow.names):
                raise UserError(
                    f"{parquet}: has no column {sorted(missing)[0]!r}; give samples.parquet of `curate run`"
                )
            for batch in file.iter_batches(columns=["record", "decision"]):
                kept = batch.filter(pa.compute.not_equal(batch["decision"], "drop"))
                lines.writelines(f"{record}\n" for record in kept["record"].to_pylist())
    except pa.ArrowInvalid as error:
        raise UserError(f"{parquet}: is not a Parquet file ({error})") from error
    return path


def line_offsets(path: Path) -> np.ndarray:
    """Byte offset of each non-empty line, int64 (lines,)."""
    offsets = array("q")
    with path.open("rb") as handle:
        position = 0
        for _, line in numbered_lines(handle):
            if line.strip():
                offsets.append(position)
            position = handle.tell()
    return np.frombuffer(offsets, dtype=np.int64)


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
        """The sample of row ``row``; its paths are relative to ``image_root``, and its id is its own.

        Raises:
            RowError: the line is not a JSON object, or the object is not a sample.
        """
        chosen, number = self._place(row)
        with chosen.path.open("rb") as handle:
            handle.seek(int(chosen.offsets[number]))
            line = handle.readline(MAX_LINE + 1)
        try:
            if len(line) > MAX_LINE:
                raise ValueError(f"is longer than {MAX_LINE >> 20} MiB; store its images as files")
            record = parse_json(line)
        except ValueError as error:
            raise RowError(f"{self.where(row)}: not a JSON object ({error})") from error
        if not isinstance(record, dict):
            raise RowError(f"{self.where(row)}: not a JSON object")
        try:
            sample = from_record(record, where=self.where(row))
        except UserError as error:
            raise RowError(str(error)) from error
        if sample.form.derived_id:  # of its content, which other rows may share
            sample = replace(sample, id=f"{sample.id}-{row}")
        placed = functools.partial(_placed, str(self.image_root), chosen.prefix)
        media = {key: _each(sample.meta[key], placed) for key in ("videos", "audios") if sample.meta.get(key)}
        if not media and not chosen.prefix and not any(name.startswith(("/", "file:")) for name in sample.image):
            return sample
        return replace(sample, image=tuple(map(placed, sample.image)), meta={**sample.meta, **media})


def _placed(root: str, prefix: str, name: str) -> str:
    """A path of a row as a path relative to ``root``.

    Args:
        prefix: image root of the row's data set, relative to ``root``.
        name: relative to it, or an absolute path; one that lies outside stays as it is and is refused when opened.
    """
    name = name.removeprefix("file://") if name.startswith("file:///") else name
    if not name.startswith("/"):
        return f"{prefix}/{name}" if prefix and unavailable_class(name) is None else name
    own = f"{root}/{prefix}" if prefix else root
    folder, _, file = name.rpartition("/")
    found = f"{_real_folder(folder or '/')}/{file}"
    return found.removeprefix(f"{root}/") if found.startswith(f"{own}/") else name


@functools.lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """A text, or all texts of a list, changed; anything else stays."""
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


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
        max_pixels: a larger image is scaled down to this area, see ``winnow.vlm.inputs.scaled_down``.

    Raises:
        ValueError: a class of ``winnow.media.images.CLASSES`` with its detail.
    """
    located = locate(name, str(root), max_bytes=DEFAULT_MAX_BYTES)
    if located.file is None:
        raise ValueError(f"{located.error} ({_remedy(root, name) or located.detail})")
    image, facts = decode(Path(located.file).read_bytes(), max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    if image is None:
        raise ValueError(f"{facts.error} ({facts.error_detail})")
    return scaled_down(image, max_pixels)


def _remedy(root: Path, name: str) -> str | None:
    """What to do about a file that training does not read; None for any other reason."""
    if name.startswith("/"):
        return f"an absolute path outside the image root {root}; set image_root to a folder that holds all files"
    if name[:5] == "data:" or is_url(name):
        return "only files are read here; `curate run` fetches such images and writes them to files"
    return None
