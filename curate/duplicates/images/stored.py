"""The fingerprints of a curation's images, kept between runs: only parts that are new are read.

``work/fingerprints/facts.bin`` holds the hashes and what else is compared first, ``thumbnails.bin`` the thumbnails,
both in the order of the stored parts; ``state.json`` names these parts and has a digest of what each has added. A
killed run leaves longer files than the state says; they are cut.

Memory holds about 55 bytes an image. The thumbnails (768 bytes) are mapped: pages that were read count as
resident, but belong to the file, and the kernel takes them back when memory gets short.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.duplicates.images.fingerprints import CELLS, CHANNELS, ImageFingerprints, moments
from curate.workspace import Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import open_to_append, read_json, write_state
from winnow.parquet.tables import ROWS_A_GROUP, literal, row_count
from winnow.run import file_stats

# Raise it when the same parts make other files.
_VERSION = 2
_WIDTH = CELLS * CHANNELS
_FACTS = np.dtype(
    [("phash", "<u8"), ("dhash", "<u8"), ("side", "<f4"), ("colors", "<f4", CHANNELS), ("contrast", "<f4")]
)
_COLUMNS = ["phash", "dhash", "thumbnail", "width", "height"]
FACTS, THUMBNAILS = "facts.bin", "thumbnails.bin"


@dataclass(frozen=True)
class StoredFingerprints:
    """The images of all parts, numbered through in the order of the parts.

    Attributes:
        fingerprints: of all of them. The colours of an image that could not be read are NaN: it matches no other.
        starts: name of each part and the number of its first image.
        digests: of the fingerprints of each part: equal ones have equal fingerprints.
        folder: where all is kept.
    """

    fingerprints: ImageFingerprints
    starts: dict[str, int]
    digests: list[str]
    folder: Path


def read_stored(workspace: Workspace) -> StoredFingerprints:
    """Bring the files up to date with the parts, and open them.

    Raises:
        UserError: they cannot be written.
    """
    folder = workspace.work / "fingerprints"
    parts = workspace.image_parts()
    wanted = state_of(workspace)
    rows = [count for _, count in wanted]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digests = _digests(folder / "state.json", wanted)
        if len(digests) < len(wanted) or not (folder / "state.json").is_file():
            before = sum(rows[: len(digests)])
            with (
                open_to_append(folder / FACTS, before * _FACTS.itemsize) as facts,
                open_to_append(folder / THUMBNAILS, before * _WIDTH) as thumbnails,
            ):
                digests += [_append(part, facts, thumbnails) for part in parts[len(digests) :]]
            write_state(folder / "state.json", list(map(list, zip(wanted, digests, strict=True))))
        fingerprints = open_fingerprints(folder / FACTS, folder / THUMBNAILS, 0, sum(rows))
    except OSError as error:
        raise UserError(disk_problem(error, folder) or f"{folder}: cannot be written ({error})") from error
    return StoredFingerprints(fingerprints, starts_of(parts), digests, folder)


def _digests(state: Path, wanted: Sequence[Any]) -> list[str]:
    """Digests of the first of these parts that are in the files as they are wanted."""
    try:
        there = [(made_from, str(digest)) for made_from, digest in read_json(state)]
    except (OSError, ValueError, TypeError):
        return []
    same = itertools.takewhile(lambda pair: pair[0][0] == pair[1], zip(there, wanted, strict=False))
    return [digest for (_, digest), _ in same]


def state_of(workspace: Workspace) -> list[Any]:
    """Of each part what changes when it does, and its number of images."""
    return [[[_VERSION, *file_stats(part, below=workspace.folder)], _count(part)] for part in workspace.image_parts()]


def starts_of(parts: Sequence[Path]) -> dict[str, int]:
    """Name of each part and the number of its first image."""
    return dict(zip(map(str, parts), np.cumsum([0, *map(_count, parts)]).tolist(), strict=False))


def _count(part: Path) -> int:
    stat = part.stat()
    return _counted(str(part), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 17)  # several steps of a run ask for all of them
def _counted(part: str, size: int, time: int) -> int:
    return row_count(Path(part))


def number_images(connection: duckdb.DuckDBPyConnection, starts: Mapping[str, int], table: str = "numbered") -> None:
    """Create a table: number, image_key and pixels of each image that could be read.

    Args:
        starts: of ``starts_of``.
    """
    if not starts:
        connection.execute(f"CREATE TABLE {table} (number BIGINT, image_key VARCHAR, pixels BIGINT)")
        return
    names, firsts = list(starts), list(starts.values())
    connection.register(
        "parts", pa.table({"filename": pa.array(names, pa.string()), "first": pa.array(firsts, pa.int64())})
    )
    files = ", ".join(literal(name) for name in names)
    rows = f"SELECT * FROM read_parquet([{files}], filename = true, file_row_number = true) JOIN parts USING (filename)"
    connection.execute(f"""
        CREATE TABLE {table} AS
        SELECT (first + file_row_number)::BIGINT AS number, image_key, width::BIGINT * height AS pixels
        FROM ({rows}) WHERE phash IS NOT NULL AND dhash IS NOT NULL
    """)


def _append(part: Path, facts: BinaryIO, thumbnails: BinaryIO) -> str:
    """Append the fingerprints of a part; returns their digest."""
    digest = hashlib.sha256()
    for batch in _batches(part):
        there = batch.column("thumbnail").is_valid().to_numpy(zero_copy_only=False)
        pixels = np.zeros((batch.num_rows, _WIDTH), np.uint8)
        raw = b"".join(batch.column("thumbnail").drop_null().to_pylist())
        pixels[there] = np.frombuffer(raw, np.uint8).reshape(-1, _WIDTH)
        made = np.zeros(batch.num_rows, _FACTS)
        for name in ("phash", "dhash"):
            made[name] = batch.column(name).fill_null(0).to_numpy()
        sides = [batch.column(name).fill_null(0).to_numpy() for name in ("width", "height")]
        made["side"] = np.minimum(*sides)
        colors, made["contrast"] = moments(pixels)
        made["colors"] = np.where(there[:, None], colors, np.float32(np.nan))
        for file, data in ((thumbnails, pixels.tobytes()), (facts, made.tobytes())):
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def _batches(part: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(part) as table:
        yield from table.iter_batches(ROWS_A_GROUP // 2, columns=_COLUMNS)


def open_fingerprints(facts: Path, thumbnails: Path, start: int, stop: int) -> ImageFingerprints:
    """Those of the images from ``start`` to ``stop`` in these files."""
    count = stop - start
    read: NDArray[Any] = np.fromfile(facts, _FACTS, count, offset=start * _FACTS.itemsize)
    shape = (count, _WIDTH)
    pixels = np.memmap(thumbnails, np.uint8, "r", start * _WIDTH, shape) if count else np.empty(shape, np.uint8)
    columns = [np.ascontiguousarray(read[name]) for name in ("phash", "dhash", "side", "colors", "contrast")]
    phash, dhash, side, colors, contrast = columns
    return ImageFingerprints(phash, dhash, pixels, side, colors, contrast)
