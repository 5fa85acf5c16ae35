"""The ``signals`` folder: parts that are appended, the table of paths, and the journal of an unfinished run.

``part-<n>.parquet``: one row per unique image. ``paths.parquet``: one row per path, written when a run
ends; its metadata holds the number of the next part. ``journal/<n>.parquet``: the paths of block n of an
unfinished run; block n is done when this file exists. ``.cache/``: what only makes the next run faster.

``MeasuredImages`` and ``MeasuredPaths`` know what earlier runs measured, in about 50 bytes an image, so that no file is
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
from numpy.typing import NDArray

from curate.measure.claims import short_key
from curate.measure.row import PathRow
from curate.signals import PIXEL_SIGNALS, SIGNALS
from winnow.digests import TICK_NS
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.hash_index import HashIndex
from winnow.media.images import NOT_MEASURED, STILLS
from winnow.media.locate import locate, wrong_extension
from winnow.parquet.tables import ROWS_A_GROUP, write_parquet

PATHS, CACHE, JOURNAL, STAT = "paths.parquet", ".cache", "journal", "stat.parquet"
_NEXT_STAT = "next-stat.parquet"  # of the paths that are about to be put in place
_META = b"winnow"
_KEY = 64  # letters of an image key
_PATH_SCHEMA = pa.schema(
    [("path", pa.string()), ("image_key", pa.string()), ("error", pa.string()), ("error_detail", pa.string())]
)
_STAT_FIELDS = [("size", pa.int64()), ("mtime_ns", pa.int64()), ("ctime_ns", pa.int64())]


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
        self._take_next_stat()
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
        """Tables of path rows, oldest first, with ``size`` and the times (null where not known) and ``racy``.

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
            rows = pq.read_table(path, schema=pa.schema([*_PATH_SCHEMA, *_STAT_FIELDS]))
            yield _with_racy(rows, self._metadata(path).get("read_at"))

    def finish(self, known: MeasuredPaths) -> None:
        """Merge the journal into ``paths.parquet``.

        Args:
            known: the paths of ``measured_paths``, and what this run has seen of their files.
        """
        if self.next_block == self.first_block and not known.read_again and (self.folder / PATHS).is_file():
            return
        superseded = known.superseded()
        schema = _PATH_SCHEMA.with_metadata({_META: json.dumps({"next_part": self.next_block})})
        cache = self.folder / CACHE
        cache.mkdir(exist_ok=True)
        stat_schema = pa.schema(_STAT_FIELDS)
        stats = [stat_schema.empty_table()]

        def kept() -> Iterator[pa.Table]:
            start = 0
            for rows in self.measured_paths():
                rows = known.with_times(rows, start)
                alive = rows.filter(pa.array(~superseded[start : start + len(rows)]))
                start += len(rows)
                stats.append(alive.select(stat_schema.names).cast(stat_schema))
                yield alive.select(_PATH_SCHEMA.names).cast(schema)

        # Times first, paths in one step: without its times every file would be read again, and its path come last.
        made = cache / f".{PATHS}.tmp"
        write_parquet(made, kept(), schema)
        of = {_META: json.dumps({"of": sha256_file(made), "read_at": self._started})}
        write_parquet(cache / _NEXT_STAT, stats, stat_schema.with_metadata(of))
        made.replace(self.folder / PATHS)
        (cache / _NEXT_STAT).replace(cache / STAT)
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
        first: dict[str, dict[str, Any]] = {}
        for row in keyed.to_pylist():
            first.setdefault(row["image_key"], row)
        rows = [{**row, "bytes": 0} for row in first.values()]
        for number, (name, count) in enumerate(parts, start=1):
            own, rows = (rows, []) if number == len(parts) else (rows[:count], rows[count:])
            self.write_part(self.folder / name, own, image_schema(None, {}))

    def _take_next_stat(self) -> None:
        """After a kill: the times of the paths that are in place, or of ones that never came there."""
        made = self.folder / CACHE / _NEXT_STAT
        if not made.is_file():
            return
        paths = self.folder / PATHS
        if paths.is_file() and self._metadata(made).get("of") == sha256_file(paths):
            made.replace(made.with_name(STAT))
        else:
            made.unlink()

    def _stat(self) -> pa.Table | None:
        """Sizes and times of ``paths.parquet``'s files, if they belong to this very table."""
        path = self.folder / CACHE / STAT
        if not path.is_file() or not (self.folder / PATHS).is_file():
            return None
        if self._metadata(path).get("of") != sha256_file(self.folder / PATHS):
            return None
        return pq.read_table(path, schema=pa.schema(_STAT_FIELDS))  # what an earlier Winnow has not noted is null

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
Digests = NDArray[np.uint64]


class MeasuredImages:
    """An index of unique images by key, with what a path that leads to one needs to know of it.

    Attributes:
        known: ``short_key`` of the images of earlier runs, ascending.
    """

    def __init__(self, parts: Iterable[Path]) -> None:
        self._facts: list[tuple[str | None, str | None, str | None]] = []  # the few distinct (error, format, detail)
        found = [self._read(part) for part in parts]
        keys = np.concatenate([keys for keys, _ in found]) if found else np.empty(0, np.uint64)
        order = np.argsort(keys, kind="stable")
        self.known: Digests = keys[order]
        self._fact_of = np.concatenate([facts for _, facts in found])[order] if found else np.empty(0, np.uint16)
        self._new = HashIndex()  # of this run; numbers of facts

    def __contains__(self, key: str) -> bool:
        return self._fact(key) is not None

    def add(self, row: dict[str, Any]) -> None:
        """Remember a measured row."""
        self._new.add(short_key(row["image_key"]), self._number(row))

    def path_error(self, path: str, key: str) -> tuple[str | None, str | None]:
        """Class and detail of a path that leads to the image ``key``."""
        number = self._fact(key)
        error, format_, detail = self._facts[number] if number is not None else (None, None, None)
        if error is not None and error not in _STILL_DECODES:
            return error, detail
        misnamed = wrong_extension(path, format_ or "") if format_ else None
        return ("wrong_extension", misnamed) if misnamed else (error, None)

    def _fact(self, key: str) -> int | None:
        digest = short_key(key)
        number = self._new.get(digest)
        if number is None:
            at = int(self.known.searchsorted(np.uint64(digest)))
            if at < len(self.known) and int(self.known[at]) == digest:
                number = int(self._fact_of[at])
        return number

    def _number(self, row: dict[str, Any]) -> int:
        """The number of what a row says in ``_facts``."""
        error, format_ = row.get("error"), row.get("format")
        if error == "wrong_extension":  # a fault of the path, not of the image
            error = "animated" if (row.get("frames") or 1) > 1 and format_ not in STILLS else None
        detail = row.get("error_detail") if error in _CONVERTIBLE and len(self._facts) < _DETAILS else None
        fact = (error, format_, detail)
        if fact not in self._facts:
            self._facts.append(fact)
        return self._facts.index(fact)

    def _read(self, part: Path) -> tuple[Digests, NDArray[np.uint16]]:
        """Keys of a part's images and the numbers of their facts."""
        table = pq.read_table(part, columns=["image_key", "error", "error_detail", "format", "frames"])
        facts = np.zeros(len(table), np.uint16)
        formats = table["format"].combine_chunks().dictionary_encode()
        numbers = [self._number({"format": name}) for name in [*formats.dictionary.to_pylist(), None]]
        facts[:] = np.array(numbers, np.uint16)[formats.indices.fill_null(len(numbers) - 1).to_numpy()]
        faulty = np.flatnonzero(table["error"].is_valid().to_numpy())
        for at, row in zip(faulty.tolist(), table.take(faulty).to_pylist(), strict=True):
            facts[at] = self._number(row)
        return short_keys(table["image_key"]), facts


class MeasuredPaths:
    """An index of the paths of earlier blocks, with size and times of their files.

    Attributes:
        read_again: whether a file's times said too little, and its bytes were those that had been measured.
    """

    def __init__(self, store: Store) -> None:
        self._errors: list[str] = [""]
        digests, sizes, times, changes, errors, keys, racy = [], [], [], [], [], [], []
        for table in store.measured_paths():
            digests.append(path_digests(table["path"].to_pylist()))
            sizes.append(table["size"].fill_null(0).to_numpy())
            times.append(table["mtime_ns"].fill_null(-1).to_numpy())
            changes.append(table["ctime_ns"].fill_null(-1).to_numpy())
            classes = table["error"].fill_null("").combine_chunks().dictionary_encode()
            numbers = np.array([self._number(name) for name in classes.dictionary.to_pylist()], np.uint8)
            errors.append(numbers[classes.indices.to_numpy()])
            keys.append(
                np.where(table["image_key"].is_valid(), short_keys(table["image_key"].fill_null("0" * _KEY)), 0)
            )
            racy.append(table["racy"].fill_null(False).to_numpy())
        self._digests = np.concatenate([np.empty(0, np.uint64), *digests])
        self._sizes = np.concatenate([np.empty(0, np.int64), *sizes])
        self._times = np.concatenate([np.empty(0, np.int64), *times])
        self._changes = np.concatenate([np.empty(0, np.int64), *changes])
        self.read_again = False
        self._error_of = np.concatenate([np.empty(0, np.uint8), *errors])
        self._keys = np.concatenate([np.empty(0, np.uint64), *keys])  # 0 for a path that leads to no image
        self._racy = np.concatenate([np.empty(0, bool), *racy])
        self._order = np.argsort(self._digests, kind="stable")
        self._digests = self._digests[self._order]
        # Of several rows of a path the last one counts.
        self._replaced = np.zeros(len(self._order), bool)
        self._replaced[self._order[:-1][self._digests[1:] == self._digests[:-1]]] = True
        self._added = 0

    def __len__(self) -> int:
        return len(self._order)

    def numbers(self, digests: Digests) -> NDArray[np.int64]:
        """The row of each path, given by ``path_digests``; -1 for one that is not there."""
        if not len(self._order):
            return np.full(len(digests), -1)
        at = np.searchsorted(self._digests, digests, side="right") - 1
        return np.where((at >= 0) & (self._digests[at] == digests), self._order[at], -1)

    def replace(self, paths: Sequence[str]) -> None:
        """Paths of this run have rows of their own now; older rows of them no longer count."""
        older = self.numbers(path_digests(paths))
        self._replaced[older[older >= 0]] = True
        self._added += len(paths)

    def superseded(self) -> NDArray[np.bool_]:
        """Over all rows, in the order in which they are stored: whether another row of the path counts."""
        return np.concatenate([self._replaced, np.zeros(self._added, bool)])

    def with_times(self, rows: pa.Table, start: int) -> pa.Table:
        """Some rows of ``Store.measured_paths`` with the times that files were seen with in this run."""
        fresh = self._changes[start : start + len(rows)]
        older = rows["ctime_ns"].slice(len(fresh))
        at = rows.schema.get_field_index("ctime_ns")
        return rows.set_column(at, "ctime_ns", pa.chunked_array([pa.array(fresh), *older.chunks], pa.int64()))

    def unchanged(self, number: int, path: str, root: str, max_bytes: int) -> str | None:
        """The class of a path ('' for none) that is as it was; None if it has changed, or nothing is known of it."""
        error = self._errors[self._error_of[number]]
        if key := int(self._keys[number]):
            noted = self._sizes[number], self._times[number], self._changes[number]
            seen = _seen(f"{root}/{path}", noted, key, racy=bool(self._racy[number]))
            if seen is not None and seen != noted[2]:
                self._changes[number], self.read_again = seen, True
            return None if seen is None else error
        if error == NOT_MEASURED:
            return None
        return error if locate(path, root, max_bytes=max_bytes).error == error else None

    def _number(self, error: str) -> int:
        if error not in self._errors:
            self._errors.append(error)
        return self._errors.index(error)


def path_digests(paths: Sequence[str]) -> Digests:
    """64 bits of each path, for this process only."""
    return np.fromiter(map(hash, paths), np.int64, len(paths)).view(np.uint64)


def short_keys(keys: pa.ChunkedArray) -> Digests:
    """``short_key`` of each key."""
    letters = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * _KEY, chunk.offset * _KEY).reshape(-1, _KEY)[:, :16]
        for chunk in keys.cast(pa.binary()).cast(pa.binary(_KEY)).chunks
        if len(chunk)
    ]
    if not letters:
        return np.empty(0, np.uint64)
    values = np.concatenate(letters)
    nibbles = ((values & 15) + 9 * (values >> 6)).astype(np.uint64)
    found: Digests = np.bitwise_or.reduce(nibbles << np.arange(60, -1, -4, dtype=np.uint64), axis=1)
    return np.maximum(found, 1)


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
    noted = row["size"], row["mtime_ns"], row["ctime_ns"]
    return _seen(file, noted, short_key(row["image_key"]), racy=bool(row["racy"])) is not None


def surely_unchanged(rows: pa.Table, root: str) -> NDArray[np.bool_]:
    """Which rows of ``Store.measured_paths`` name a file whose size and times are as they were, and say enough.

    Of the others, ``is_unchanged`` knows.
    """
    sizes, times, changes = array("q"), array("q"), array("q")
    for path in rows["path"].to_pylist():
        try:
            status = os.stat(f"{root}/{path}")  # noqa: PTH116 (a million of these)
        except (OSError, ValueError):
            sizes.append(-1)
            times.append(-1)
            changes.append(-1)
        else:
            sizes.append(status.st_size if stat.S_ISREG(status.st_mode) else -1)
            times.append(status.st_mtime_ns)
            changes.append(status.st_ctime_ns)
    there = pc.and_(pc.equal(rows["size"], pa.array(sizes)), pc.equal(rows["mtime_ns"], pa.array(times)))
    there = pc.and_(there, pc.equal(rows["ctime_ns"], pa.array(changes)))
    sure = pc.and_(pc.is_valid(rows["image_key"]), pc.invert(rows["racy"]))
    found: NDArray[np.bool_] = pc.fill_null(pc.and_(there, sure), False).to_numpy()
    return found & (np.frombuffer(sizes, np.int64) >= 0)


def _times_of(row: Mapping[str, Any], root: str) -> dict[str, int | None]:
    """Size and times of a file by its row of ``Store.measured_paths``; null if its bytes are not what they were."""
    times: dict[str, int | None] = {name: row[name] for name, _ in _STAT_FIELDS}
    if row["image_key"] is None:
        return times
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(f"{root}/{row['path']}")  # noqa: PTH116
        seen = dict[str, int | None](zip(times, (status.st_size, status.st_mtime_ns, status.st_ctime_ns), strict=True))
        if (seen == times and not row["racy"]) or is_unchanged(row, root, 0, whole=True):
            return seen
    return dict.fromkeys(times)


def _seen(file: str, noted: tuple[int | None, int | None, int | None], key: int, *, racy: bool) -> int | None:
    """The time of a file's last change of any kind; None if it is not as it was.

    Its bytes are looked at where size and times say too little: rights, links and copies change only the last time.

    Args:
        noted: size, ``mtime_ns`` and ``ctime_ns``.
    """
    size, *times = noted
    try:
        status = os.stat(file)  # noqa: PTH116 (a million of these)
        seen = [status.st_mtime_ns, status.st_ctime_ns]
        same = (status.st_size, seen[0]) == (size, times[0]) and stat.S_ISREG(status.st_mode)
        sure = seen == times and not racy
        return seen[1] if same and (sure or short_key(sha256_file(Path(file))) == key) else None
    except (OSError, ValueError):
        return None
