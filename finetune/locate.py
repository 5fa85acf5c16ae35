"""Where the rows and the images of a data set lie: a curated folder, a JSONL file or a curated Parquet file."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np

from winnow.errors import UserError
from winnow.run import MANIFEST, read_manifest


def locate(data: Path, image_root: Path | None) -> tuple[Path, Path]:
    """JSONL file and image root of one data set.

    Raises:
        UserError: no such data, an unfinished curated folder, no such image root.
    """
    if data.is_file():
        beside = data.parent / MANIFEST
        known = (
            read_manifest(data.parent, finish_with="curate run RECIPE").get("image_root") if beside.is_file() else None
        )
        path, root = data, image_root or Path(known or data.parent)
        if data.suffix == ".parquet":
            path = _kept_lines(data)
    else:
        manifest = read_manifest(data, finish_with="curate run RECIPE")
        path, root = data / "samples.jsonl", image_root or Path(manifest.get("image_root", data))
        if not path.is_file():
            raise UserError(f"{path}: no such file; {data / MANIFEST} is no manifest of `curate run`")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; set image_root to the folder below which the images lie")
    return path, root.resolve()


def _kept_lines(parquet: Path) -> Path:
    """The records of a curated set's Parquet that were not dropped, as a JSONL file for this process.

    Raises:
        UserError: no Parquet, or not with the columns ``record`` and ``decision``.
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
        raise UserError(f"{parquet}: is no Parquet file ({error})") from error
    return folder / "rows.jsonl"


def line_offsets(path: Path) -> np.ndarray:
    """Start of each non-empty line, int64, in bytes."""
    offsets, position = [], 0
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                offsets.append(position)
            position += len(line)
    return np.array(offsets, dtype=np.int64)
