"""What the search for edited copies compares: small grey views with their keypoints, and colour thumbnails.

All lies in files of one folder, in the order of the stored parts, and only parts that are new are read; ``state.json``
names the parts, and what the files were when they had been written: files that are not so any more are made again.
Memory holds about 20 bytes an image, the files 8 KB.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.images.fingerprints import CELLS, CHANNELS
from curate.signals.keypoints import POINT, SIDE
from winnow.errors import UserError, disk_problem
from winnow.files import open_to_append, read_json, write_json
from winnow.run import file_stats

_VERSION = 2  # raise it when the same parts make other files
_COLUMNS = ["look", "keypoints", "like_paper", "thumbnail", "width", "height"]
_BATCH = 256
# File → type and shape of one entry. Each image has one, but as many points as its count says.
_FILES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "views": ("u1", (SIDE, SIDE)),
    "shapes": ("u1", (2,)),
    "sizes": ("<i4", (2,)),
    "colors": ("u1", (CELLS * CHANNELS,)),
    "paper": ("?", ()),
    "counts": ("u1", ()),
    "points": (POINT, ()),
}


@dataclass(frozen=True)
class Looks:
    """Views of n images, numbered as ``curate.duplicates.images.stored.read_stored`` numbers them.

    Attributes:
        views: uint8 (n, 80, 80), a memory map: grey, the aspect ratio kept, in the upper left; the rest repeats the
            last row and column.
        shapes: uint8 (n, 2), height and width of the view; 0 of an image that did not decode, which matches nothing.
        sizes: int32 (n, 2), height and width of the image in pixels.
        colors: uint8 (n, 768), a memory map: the thumbnail, 16 × 16 RGB.
        paper: bool (n,): drawings, pages and forms; no edits are sought between two of them.
        starts: int64 (n + 1,): image k has the keypoints from starts[k] to starts[k + 1].
        points: of dtype ``curate.signals.keypoints.POINT``, a memory map.
        folder: of the files; None of a part of the images.
        made_from: for each part of the signals a key, and how many images and keypoints end with it.
    """

    views: NDArray[np.uint8]
    shapes: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    colors: NDArray[np.uint8]
    paper: NDArray[np.bool_]
    starts: Indices
    points: NDArray[Any]
    folder: Path | None = None
    made_from: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.shapes)

    def since(self, first: int) -> Looks:
        """The images from ``first`` on, numbered from 0."""
        cut = {name: getattr(self, name)[first:] for name in ("views", "shapes", "sizes", "colors", "paper")}
        points = int(self.starts[first])
        return Looks(**cut, starts=self.starts[first:] - points, points=self.points[points:])

    @classmethod
    def of_parts(cls, parts: Sequence[Path], scratch: Path) -> Looks:
        """Read the Parquet parts of image signals, in their order.

        Args:
            scratch: folder of the files; those of an earlier call are brought up to date.

        Raises:
            UserError: they cannot be written.
        """
        asked = [[_VERSION, *file_stats(part, below=part.parent)] for part in parts]
        state = scratch / "state.json"
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            done = _kept(state, asked, scratch)
            if len(done) < len(parts) or not state.is_file():
                images, points = done[-1][1:] if done else (0, 0)
                with ExitStack() as stack:
                    files = {}
                    for name, entry in _FILES.items():
                        size = (points if name == "points" else images) * np.dtype(entry).itemsize
                        files[name] = stack.enter_context(open_to_append(scratch / f"{name}.bin", size))
                    for part, key in zip(parts[len(done) :], asked[len(done) :], strict=True):
                        with pq.ParquetFile(part) as table:
                            for batch in table.iter_batches(_BATCH, columns=_COLUMNS):
                                made = _entries(batch)
                                images, points = images + len(made["counts"]), points + len(made["points"])
                                for name, values in made.items():
                                    files[name].write(np.ascontiguousarray(values).tobytes())
                        done.append([key, images, points])
                write_json(state, [_stats(scratch), done])
        except OSError as error:
            raise UserError(disk_problem(error, scratch) or f"{scratch}: cannot be written ({error})") from error
        images, points = done[-1][1:] if done else (0, 0)
        opened = {name: _opened(scratch, name, points if name == "points" else images) for name in _FILES}
        starts = np.concatenate([[0], np.cumsum(opened.pop("counts"), dtype=np.int64)])
        return cls(starts=starts, **opened, folder=scratch, made_from=done)


def _kept(state: Path, asked: Sequence[Any], folder: Path) -> list[Any]:
    """Of the first parts that are in the files already: the part, and how many images and keypoints end with it."""
    try:
        stats, there = read_json(state)
        same = [
            one for one, key in itertools.takewhile(lambda pair: pair[0][0] == pair[1], zip(there, asked, strict=False))
        ]
    except (OSError, ValueError, TypeError, IndexError):
        return []
    return same if stats == _stats(folder) else []


def _stats(folder: Path) -> list[Any]:
    return file_stats(*(folder / f"{name}.bin" for name in _FILES), below=folder)


def _opened(folder: Path, name: str, count: int) -> NDArray[Any]:
    """Small ones in memory, large ones mapped."""
    path, (kind, shape) = folder / f"{name}.bin", _FILES[name]
    if not count or name in ("shapes", "sizes", "paper", "counts"):
        return np.fromfile(path, np.dtype(kind), count * math.prod(shape)).reshape(count, *shape)
    return np.memmap(path, np.dtype(kind), "r", shape=(count, *shape))


def _entries(batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
    """The entries of one batch, by file."""
    made = {name: np.zeros((batch.num_rows, *shape), kind) for name, (kind, shape) in _FILES.items()}
    points = []
    columns = (batch.column(name).to_pylist() for name in _COLUMNS)
    for row, (look, found, paper, thumbnail, width, height) in enumerate(zip(*columns, strict=True)):
        if look is not None:
            made["shapes"][row] = look[0], look[1]
            made["sizes"][row] = height, width
            made["views"][row] = _canvas(look)
            made["colors"][row] = np.frombuffer(thumbnail, np.uint8)
            made["paper"][row] = paper
            made["counts"][row] = len(found) // POINT.itemsize
            points.append(found)
    return made | {"points": np.frombuffer(b"".join(points), POINT)}


def _canvas(look: bytes) -> NDArray[np.uint8]:
    height, width = look[0], look[1]
    view = np.frombuffer(look, np.uint8, offset=2).reshape(height, width)
    return np.pad(view, ((0, SIDE - height), (0, SIDE - width)), "edge")
