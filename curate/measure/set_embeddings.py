"""The embeddings of a set by image number: CLIP's where they are stored, else those of the packaged network.

``work/embeddings/<model>/values.f16`` holds them in the order in which they were measured, ``parts.json`` names the
stored parts that are in it. Only parts that are new are read; a killed run leaves a longer file, which is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.workspace import Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import open_to_append, write_json
from winnow.parquet.tables import ROWS_A_GROUP
from winnow.run import file_stats, unchanged_parts


@dataclass(frozen=True)
class SetEmbeddings:
    """Embeddings of the images of a set.

    Images are numbered as in ``curate.duplicates.images.stored``: through all parts of the image signals,
    unreadable ones too.

    Attributes:
        model: ``clip`` or ``embedding``: the setting of ``signals:`` that made them.
        values: float16 (n, width), memory-mapped, L2-normalised; in the order in which they were measured.
        row: int64 (images,), image number → row of ``values``; -1 for an image without an embedding.
    """

    model: str
    values: NDArray[np.float16]
    row: NDArray[np.int64]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The images that have an embedding, ascending."""
        return np.flatnonzero(self.row >= 0)

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings of these images, all of which have one; float32 (len(numbers), width)."""
        return np.asarray(self.values[self.row[numbers]], np.float32)


def read_embeddings(workspace: Workspace) -> SetEmbeddings | None:
    """The embeddings of a measured set; None if it has none.

    Raises:
        UserError: the files below ``work/embeddings`` cannot be written.
    """
    images = workspace.image_parts()
    keys = _keys(images)
    for model, column, parts in (
        ("clip", "clip_embedding", images),
        ("embedding", "embedding", sorted(workspace.model_folder("embedding").glob("part-*.parquet"))),
    ):
        width = next((width for part in parts if (width := _width(part, column))), 0)
        if not width:
            continue
        stored = keys if parts == images else _keys(parts)
        folder = workspace.work / "embeddings" / model
        try:
            values, there = _values(folder, parts, column, width, workspace.folder)
        except OSError as error:
            raise UserError(disk_problem(error, folder) or f"{folder}: cannot be written ({error})") from error
        if not there.any():
            continue
        usable = np.flatnonzero(
            there
        )  # a part may hold an image that could not be read then and another one that it could
        found = pc.index_in(keys, value_set=pc.take(stored, pa.array(usable)))
        at = np.asarray(pc.fill_null(found, -1), np.int64)
        return SetEmbeddings(model, values, np.where(at < 0, -1, usable[at]))
    return None


def no_embeddings(folder: Path) -> UserError:
    """What to raise where a set needs embeddings and has none."""
    return UserError(
        f"{folder}: no embeddings are stored there; add `embedding: efficientnet-lite0`, which needs no download, or"
        " `clip:` to `signals:` of its recipe, and run it again"
    )


def _keys(parts: Sequence[Path]) -> pa.Array:
    columns = [pq.read_table(part, columns=["image_key"])["image_key"] for part in parts]
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.string()).combine_chunks()


def _width(part: Path, column: str) -> int:
    kind = pq.read_schema(part).field(column).type
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else 0


def _values(
    folder: Path, parts: Sequence[Path], column: str, width: int, below: Path
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Values (n, width), zeros where there is none, and whether there is one (n,)."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [[file_stats(part, below=below), pq.read_metadata(part).num_rows, width] for part in parts]
    file, state = folder / "values.f16", folder / "parts.json"
    kept = unchanged_parts(state, wanted)
    count = sum(rows for _, rows, _ in wanted)
    if kept < len(wanted) or not state.is_file():
        with open_to_append(file, 2 * width * sum(rows for _, rows, _ in wanted[:kept])) as out:
            for part in parts[kept:]:
                for block in _read(part, column, width):
                    out.write(block.tobytes())
        write_json(state, wanted)
    values = np.memmap(file, np.float16, "r", shape=(count, width)) if count else np.empty((0, width), np.float16)
    there = np.empty(count, bool)
    for start in range(0, count, ROWS_A_GROUP):
        # The first numbers tell: no normalised embedding is zero throughout, and few start so.
        block = values[start : start + ROWS_A_GROUP]
        there[start : start + ROWS_A_GROUP] = block[:, :8].any(axis=1) | block.any(axis=1)
    return values, there


def _read(part: Path, column: str, width: int) -> Iterator[NDArray[np.float16]]:
    with pq.ParquetFile(part) as table:
        for batch in table.iter_batches(ROWS_A_GROUP, columns=[column]):
            embedded = batch.column(column)
            there = embedded.is_valid().to_numpy(zero_copy_only=False)
            block = np.zeros((len(there), width), np.float16)
            if there.any():  # a part without any may have another type
                block[there] = embedded.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            yield block
