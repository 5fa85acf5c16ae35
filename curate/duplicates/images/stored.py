"""The fingerprints of a curation's images, kept between runs: only parts that are new are read.

``work/fingerprints/facts.bin`` holds the hashes and what else is compared first, ``thumbnails.bin`` the thumbnails,
both in the order of the stored parts; ``state.json`` names these parts. A killed run leaves longer files than the
state says; they are cut. ``matches-*.npz`` is the result of the search among them.

Memory holds about 55 bytes an image. The thumbnails (768 bytes) are mapped: pages that were read count as
resident, but belong to the file, and the kernel takes them back when memory gets short.
"""

from __future__ import annotations

import io
import json
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
from curate.duplicates.images.matching import SearchResult, search_matches
from curate.recipe import MatchSettings
from curate.workspace import Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, digest_of, open_to_append, write_json
from winnow.run import file_stats, unchanged_parts
from winnow.tables import ROWS_A_GROUP, literal

# Raise it when the same parts make other files.
_VERSION = 1
_WIDTH = CELLS * CHANNELS
_FACTS = np.dtype(
    [("phash", "<u8"), ("dhash", "<u8"), ("side", "<f4"), ("colors", "<f4", CHANNELS), ("contrast", "<f4")]
)
_COLUMNS = ["phash", "dhash", "thumbnail", "width", "height"]


@dataclass(frozen=True)
class StoredFingerprints:
    """The images of all parts, numbered through in the order of the parts.

    Attributes:
        fingerprints: of all of them. The colours of an image that could not be read are NaN: it matches no other.
        starts: name of each part and the number of its first image.
        state: changes when a part does; the first k entries describe the first k parts.
        folder: where all is kept.
    """

    fingerprints: ImageFingerprints
    starts: dict[str, int]
    state: list[Any]
    folder: Path

    def search(self, settings: MatchSettings) -> SearchResult:
        """All confirmed pairs; images of an earlier search are only compared with newer ones."""
        asked = settings.model_dump(mode="json", include=set(MatchSettings.model_fields))
        path = self.folder / f"matches-{digest_of(asked)[:16]}.npz"
        earlier = self._read(path)
        if earlier is not None and earlier.count == len(self.fingerprints):
            return earlier
        found = search_matches(self.fingerprints, settings, earlier)
        written = io.BytesIO()
        arrays: dict[str, Any] = {f"dense{number}": pairs for number, pairs in enumerate(found.dense_buckets)}
        arrays["state"] = np.frombuffer(json.dumps(self.state).encode(), np.uint8)
        np.savez(written, near=found.near, **arrays)
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(written.getbuffer())
        except OSError as error:
            raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error
        return found

    def _read(self, path: Path) -> SearchResult | None:
        """An earlier search among the first of these images."""
        if not path.is_file():
            return None
        with np.load(path) as kept:
            parts = json.loads(kept["state"].tobytes())
            if parts != self.state[: len(parts)]:
                return None
            dense_buckets = tuple(kept[f"dense{number}"] for number in range(len(kept.files) - 2))
            return SearchResult(sum(rows for _, rows in parts), kept["near"], dense_buckets)


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
        kept = unchanged_parts(folder / "state.json", wanted)
        if kept < len(wanted) or not (folder / "state.json").is_file():
            before = sum(rows[:kept])
            with (
                open_to_append(folder / "facts.bin", before * _FACTS.itemsize) as facts,
                open_to_append(folder / "thumbnails.bin", before * _WIDTH) as thumbnails,
            ):
                for part in parts[kept:]:
                    _append(part, facts, thumbnails)
            write_json(folder / "state.json", wanted)
        fingerprints = _opened(folder, sum(rows))
    except OSError as error:
        raise UserError(disk_problem(error, folder) or f"{folder}: cannot be written ({error})") from error
    return StoredFingerprints(fingerprints, starts_of(parts), wanted, folder)


def state_of(workspace: Workspace) -> list[Any]:
    """Of each part what changes when it does, and its number of images."""
    return [
        [[_VERSION, *file_stats(part, below=workspace.folder)], pq.read_metadata(part).num_rows]
        for part in workspace.image_parts()
    ]


def starts_of(parts: Sequence[Path]) -> dict[str, int]:
    """Name of each part and the number of its first image."""
    counts = [pq.read_metadata(part).num_rows for part in parts]
    return dict(zip(map(str, parts), np.cumsum([0, *counts]).tolist(), strict=False))


def number_images(connection: duckdb.DuckDBPyConnection, starts: Mapping[str, int], table: str = "numbered") -> None:
    """Create a table: number, image_key and pixels of each image that could be read.

    Args:
        starts: of ``starts_of``.
    """
    names, firsts = list(starts), list(starts.values())
    connection.register(
        "parts", pa.table({"filename": pa.array(names, pa.string()), "first": pa.array(firsts, pa.int64())})
    )
    files = ", ".join(literal(name) for name in names)
    rows = (
        f"SELECT * FROM read_parquet([{files}], filename = true, file_row_number = true) JOIN parts USING (filename)"
        if names
        else "SELECT *, 0 AS first, 0 AS file_row_number FROM images WHERE false"
    )
    connection.execute(f"""
        CREATE TABLE {table} AS
        SELECT (first + file_row_number)::BIGINT AS number, image_key, width::BIGINT * height AS pixels
        FROM ({rows}) WHERE phash IS NOT NULL AND dhash IS NOT NULL
    """)


def _append(part: Path, facts: BinaryIO, thumbnails: BinaryIO) -> None:
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
        thumbnails.write(pixels.tobytes())
        facts.write(made.tobytes())


def _batches(part: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(part) as table:
        yield from table.iter_batches(ROWS_A_GROUP // 2, columns=_COLUMNS)


def _opened(folder: Path, count: int) -> ImageFingerprints:
    facts: NDArray[Any] = np.fromfile(folder / "facts.bin", _FACTS, count)
    size = (count, _WIDTH)
    pixels = np.memmap(folder / "thumbnails.bin", np.uint8, "r", shape=size) if count else np.empty(size, np.uint8)
    columns = [np.ascontiguousarray(facts[name]) for name in ("phash", "dhash", "side", "colors", "contrast")]
    phash, dhash, side, colors, contrast = columns
    return ImageFingerprints(phash, dhash, pixels, side, colors, contrast)
