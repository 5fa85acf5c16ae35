"""The ``signals`` folder: parts that are appended, the table of paths, and the journal of an unfinished run.

``part-<n>.parquet``: one row per unique image. ``paths.parquet``: one row per path, written when a run
ends; its metadata holds the number of the next part. ``journal/<n>.parquet``: the paths of block n of an
unfinished run; block n is done when this file exists. ``.cache/``: what only makes the next run faster.

``MeasuredImages`` and ``MeasuredPaths`` know what earlier runs measured, in about 60 bytes an image, so that no file is
opened and no image decoded twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.measure.row import PathRow
from curate.signals import PIXEL_SIGNALS, SIGNALS
from winnow.digests import TICK_NS
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.hash_index import HashIndex
from winnow.images import STILLS, locate, wrong_extension
from winnow.tables import ROWS_A_GROUP, write_parquet

PATHS, CACHE, JOURNAL, STAT = "paths.parquet", ".cache", "journal", "stat.parquet"
_META = b"winnow"
_PATH_SCHEMA = pa.schema(
    [("path", pa.string()), ("image_key", pa.string()), ("error", pa.string()), ("error_detail", pa.string())]
)
_STAT_FIELDS = [("size", pa.int64()), ("mtime_ns", pa.int64())]


def image_schema(clip_width: int | None, signals: dict[str, Any]) -> pa.Schema:
    """Columns of a part; ``signals`` (name → version) is kept in its metadata."""
    embedding = pa.list_(pa.float16()) if clip_width is None else pa.list_(pa.float16(), clip_width)
    return pa.schema(
        [
            ("image_key", pa.string()),
            ("path", pa.string()),
            ("bytes", pa.int64()),
            ("format", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("mode", pa.string()),
            ("frames", pa.int32()),
            ("exif_orientation", pa.int32()),
            ("error", pa.string()),
            ("error_detail", pa.string()),
            *(column for name in PIXEL_SIGNALS for column in SIGNALS[name].fields()),
            ("clip_embedding", embedding),
            *SIGNALS["nsfw"].fields(),
        ],
        metadata={_META: json.dumps(signals, sort_keys=True)},
    )


class Store:
    """Reads and writes one ``signals`` folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._started = folder, time.time_ns()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be created ({error.strerror})") from error
        for leftover in [*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")]:
            leftover.unlink()
        self.first_block = self._metadata(folder / PATHS).get("next_part", 0)
        for old in self._numbered(JOURNAL, ""):
            if old[0] < self.first_block:  # its run ended, only this file was not yet removed
                old[1].unlink()
        blocks = [number for number, _ in self._numbered(JOURNAL, "")]
        self.next_block = max(blocks, default=self.first_block - 1) + 1
        for number, part in self._numbered("", "part-"):
            if number >= self.next_block:  # its block did not end
                part.unlink()

    def parts(self) -> list[Path]:
        """All finished parts in order."""
        return [path for _, path in self._numbered("", "part-")]

    def signals_of(self, part: Path) -> dict[str, Any]:
        """Signal name → version that a part was measured with."""
        return self._metadata(part)

    def write_part(self, path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
        """Write or replace a part."""
        write_parquet(path, [pa.Table.from_pylist(list(rows), schema)], schema)

    def write_block(self, rows: Sequence[dict[str, Any]], schema: pa.Schema, paths: Sequence[PathRow]) -> None:
        """Append one block: the rows of its new images, if any, then its paths, which makes it final."""
        if rows:
            self.write_part(self.folder / f"part-{self.next_block:05d}.parquet", rows, schema)
        journal = pa.schema([*_PATH_SCHEMA, *_STAT_FIELDS], {_META: json.dumps({"read_at": self._started})})
        columns = pa.Table.from_pylist([asdict(path) for path in paths], journal)
        write_parquet(self.folder / JOURNAL / f"{self.next_block:05d}.parquet", [columns], journal)
        self.next_block += 1

    def measured_paths(self) -> Iterator[pa.Table]:
        """Tables of path rows, oldest first, with ``size`` and ``mtime_ns`` (null where forgotten) and ``racy``.

        A file is racy whose time is so near to that of its reading that a later write could have left the same time.
        """
        stat, read_at = self._stat(), self._metadata(self.folder / CACHE / STAT).get("read_at")
        if (self.folder / PATHS).is_file():
            with pq.ParquetFile(self.folder / PATHS) as table:
                start = 0
                for batch in table.iter_batches(batch_size=ROWS_A_GROUP):
                    rows = pa.Table.from_batches([batch])
                    for name, kind in _STAT_FIELDS:
                        times = stat[name].slice(start, len(rows)) if stat is not None else pa.nulls(len(rows), kind)
                        rows = rows.append_column(name, times)
                    yield _with_racy(rows, read_at)
                    start += len(rows)
        for _, path in self._numbered(JOURNAL, ""):
            yield _with_racy(pq.read_table(path), self._metadata(path).get("read_at"))

    def finish(self, superseded: Any) -> None:
        """Merge the journal into ``paths.parquet``.

        Args:
            superseded: bool array over the rows of ``measured_paths``: those that a later row replaces.
        """
        if self.next_block == self.first_block and (self.folder / PATHS).is_file():
            return
        schema = _PATH_SCHEMA.with_metadata({_META: json.dumps({"next_part": self.next_block})})
        stat_file = self.folder / CACHE / STAT
        stat_file.parent.mkdir(exist_ok=True)
        stat_schema = pa.schema(_STAT_FIELDS)
        stats = [stat_schema.empty_table()]

        def kept() -> Iterator[pa.Table]:
            start = 0
            for rows in self.measured_paths():
                alive = rows.filter(pa.array(~superseded[start : start + len(rows)]))
                start += len(rows)
                stats.append(alive.select(stat_schema.names).cast(stat_schema))
                yield alive.select(_PATH_SCHEMA.names).cast(schema)

        write_parquet(self.folder / PATHS, kept(), schema)
        of = {_META: json.dumps({"of": sha256_file(self.folder / PATHS), "read_at": self._started})}
        write_parquet(stat_file, stats, stat_schema.with_metadata(of))
        shutil.rmtree(self.folder / JOURNAL, ignore_errors=True)
        self.first_block = self.next_block

    def note_times(self, root: Path) -> None:
        """Write sizes and times of the files of ``paths.parquet`` again where they differ and the bytes do not."""
        schema, folder = pa.schema(_STAT_FIELDS), str(root)
        of = {_META: json.dumps({"of": sha256_file(self.folder / PATHS), "read_at": self._started})}
        tables = [
            pa.Table.from_pylist([_times_of(row, folder) for row in table.to_pylist()], schema)
            for table in self.measured_paths()
        ]
        (self.folder / CACHE).mkdir(exist_ok=True)
        write_parquet(self.folder / CACHE / STAT, tables, schema.with_metadata(of))

    def note_lost(self, parts: Sequence[tuple[str, int]]) -> None:
        """Write parts that are lost with only the keys of their images, so that they are measured again.

        Args:
            parts: name and number of rows of each, in order.
        """
        there = pa.concat_arrays(
            [pa.array([], pa.string())]
            + [pq.read_table(part, columns=["image_key"])["image_key"].combine_chunks() for part in self.parts()]
        )
        paths = pq.read_table(self.folder / PATHS, columns=["image_key", "path"])
        keyed = paths.filter(pc.and_(pc.is_valid(paths["image_key"]), pc.invert(pc.is_in(paths["image_key"], there))))
        first = {row["image_key"]: row for row in reversed(keyed.to_pylist())}
        rows = [{**row, "bytes": 0} for row in reversed(first.values())]
        for number, (name, count) in enumerate(parts, start=1):
            own, rows = (rows, []) if number == len(parts) else (rows[:count], rows[count:])
            self.write_part(self.folder / name, own, image_schema(None, {}))

    def _stat(self) -> pa.Table | None:
        """Sizes and times of ``paths.parquet``'s files, if they belong to this very table."""
        path = self.folder / CACHE / STAT
        if not path.is_file() or not (self.folder / PATHS).is_file():
            return None
        return pq.read_table(path) if self._metadata(path).get("of") == sha256_file(self.folder / PATHS) else None

    def _numbered(self, folder: str, prefix: str) -> list[tuple[int, Path]]:
        found = (self.folder / folder).glob(f"{prefix}[0-9]*.parquet")
        return sorted((int(path.stem.removeprefix(prefix)), path) for path in found)

    def _metadata(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        try:
            kept = (pq.read_schema(path).metadata or {}).get(_META, b"{}")
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{path}: not readable as Parquet ({error}); delete {path.parent} to measure again"
            ) from error
        return dict(json.loads(kept))


def _with_racy(rows: pa.Table, read_at: int | None) -> pa.Table:
    if read_at is None:
        return rows.append_column("racy", pa.array([False] * len(rows), pa.bool_()))
    return rows.append_column("racy", pc.greater(rows["mtime_ns"], read_at - TICK_NS))


_CONVERTIBLE = ("unsupported_format", "vector_image", "document")  # whose detail says what to do
_DETAILS = 1000  # that are remembered
_STILL_DECODES = ("animated", "wrong_extension")


class MeasuredImages:
    """An index of unique images by key, with what a path that leads to one needs to know of it."""

    def __init__(self, parts: Iterable[Path]) -> None:
        self._index = HashIndex()
        self._facts: list[tuple[str | None, str | None, str | None]] = []  # the few distinct (error, format, detail)
        self._fact_of = array("H")
        for part in parts:
            columns = pq.read_table(part, columns=["image_key", "error", "error_detail", "format", "frames"])
            for row in columns.to_pylist():
                self.add(row)

    def __contains__(self, key: str) -> bool:
        return self._index.get(_short(key)) is not None

    def add(self, row: dict[str, Any]) -> None:
        """Remember a measured row."""
        error, format_ = row.get("error"), row.get("format")
        if error == "wrong_extension":  # a fault of the path, not of the image
            error = "animated" if (row.get("frames") or 1) > 1 and format_ not in STILLS else None
        detail = row.get("error_detail") if error in _CONVERTIBLE and len(self._facts) < _DETAILS else None
        fact = (error, format_, detail)
        if fact not in self._facts:
            self._facts.append(fact)
        self._index.add(_short(row["image_key"]), len(self._fact_of))
        self._fact_of.append(self._facts.index(fact))

    def path_error(self, path: str, key: str) -> tuple[str | None, str | None]:
        """Class and detail of a path that leads to the image ``key``."""
        number = self._index.get(_short(key))
        error, format_, detail = self._facts[self._fact_of[number]] if number is not None else (None, None, None)
        if error is not None and error not in _STILL_DECODES:
            return error, detail
        misnamed = wrong_extension(path, format_ or "") if format_ else None
        return ("wrong_extension", misnamed) if misnamed else (error, None)


class MeasuredPaths:
    """An index of the paths of earlier blocks, with size and time of their files."""

    def __init__(self, store: Store) -> None:
        self._index = HashIndex()
        self._sizes, self._times = array("q"), array("q")
        self._errors: list[str] = [""]
        self._error_of = array("B")
        self._keys = array("Q")  # of the bytes, 0 for a path that leads to none
        self._racy = array("b")
        self._replaced = array("b")
        for table in store.measured_paths():
            for row in table.to_pylist():
                racy = row.pop("racy")
                self.add(
                    PathRow(**{**row, "size": row["size"] or 0, "mtime_ns": row["mtime_ns"] or -1}), racy=bool(racy)
                )

    def add(self, row: PathRow, *, racy: bool = False) -> None:
        """Remember a path; an older row of it no longer counts.

        Args:
            racy: see ``Store.measured_paths``.
        """
        before = self._index.put(row.path, len(self._sizes))
        if before is not None:
            self._replaced[before] = 1
        self._sizes.append(row.size)
        self._times.append(row.mtime_ns)
        if (row.error or "") not in self._errors:
            self._errors.append(row.error or "")
        self._error_of.append(self._errors.index(row.error or ""))
        self._keys.append(_short(row.image_key) if row.image_key is not None else 0)
        self._racy.append(racy)
        self._replaced.append(0)

    def superseded(self) -> np.ndarray:
        """Bool array over all rows, in the order they were added."""
        return np.frombuffer(self._replaced, dtype=np.int8).astype(bool)

    def unchanged(self, path: str, root: str, max_bytes: int) -> str | None:
        """The class of a path ('' for none) that is as it was; None if it is new or has changed."""
        number = self._index.get(path)
        if number is None:
            return None
        error = self._errors[self._error_of[number]]
        if key := self._keys[number]:
            file, racy = f"{root}/{path}", bool(self._racy[number])
            return error if _holds(file, self._sizes[number], self._times[number], key, racy=racy) else None
        return error if locate(path, root, max_bytes=max_bytes).error == error else None


def is_unchanged(row: Mapping[str, Any], root: str, max_bytes: int, *, whole: bool = False) -> bool:
    """Whether the file of a row of ``Store.measured_paths`` is as it was.

    Args:
        whole: go by its bytes alone.
    """
    if row["image_key"] is None:
        found = locate(row["path"], root, max_bytes=max_bytes)
        if found.file is None:
            return bool(found.error == row["error"])
        same = (found.size, found.mtime_ns) == (row["size"], row["mtime_ns"])
        return bool(same and not os.access(found.file, os.R_OK))
    file = f"{root}/{row['path']}"
    if whole:
        with contextlib.suppress(OSError, ValueError):
            return bool(sha256_file(Path(file)) == row["image_key"])
        return False
    return _holds(file, row["size"], row["mtime_ns"], _short(row["image_key"]), racy=bool(row["racy"]))


def _times_of(row: Mapping[str, Any], root: str) -> dict[str, int | None]:
    """Size and time of a file by its row of ``Store.measured_paths``; null if its bytes are not what they were."""
    times = {"size": row["size"], "mtime_ns": row["mtime_ns"]}
    if row["image_key"] is None or is_unchanged(row, root, 0):
        return times
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(f"{root}/{row['path']}")  # noqa: PTH116
        if is_unchanged(row, root, 0, whole=True):
            return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return dict.fromkeys(times)


def _holds(file: str, size: int | None, mtime_ns: int | None, key: int, *, racy: bool) -> bool:
    """Whether a file has kept its size and time, and its bytes where these say too little."""
    try:
        status = os.stat(file)  # noqa: PTH116 (a million of these)
        same = (status.st_size, status.st_mtime_ns) == (size, mtime_ns) and stat.S_ISREG(status.st_mode)
        return bool(same) and (not racy or _short(sha256_file(Path(file))) == key)
    except (OSError, ValueError):
        return False


def _short(key: str) -> int:
    return int(key[:16], 16) or 1
