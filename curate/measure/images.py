"""Decode once, measure everything: one row per unique image.

``measure_images`` writes ``part-*.parquet`` and ``paths.parquet``. It resumes, and ends with the same bytes
whatever the number of workers.

Stored rows whose signals have another version, model or cap than wanted: only those signals are measured anew.

What earlier runs measured, in about 60 bytes an image: paths that need no second look, images no second decode.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

from curate.measure.engines import Pool, open_pool
from curate.measure.models import Models, signals_wanted
from curate.measure.row import Measured, PathRow, Plan, crashed_file, crashed_path, identify, measure
from curate.measure.store import PATHS, Store, image_schema
from curate.recipe import MeasureSettings
from curate.signals import IMAGE_SIGNALS, SIGNAL_COLUMNS
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.images import locate, wrong_extension
from winnow.progress import Bar, track

_STILL_DECODES = ("animated", "wrong_extension")


class KnownImages:
    """Unique images by key, with what a path that leads to one needs to know of it."""

    def __init__(self, parts: Iterable[Path]) -> None:
        self._index = HashIndex()
        self._facts: list[tuple[str | None, str | None]] = []  # the few distinct (error, format)
        self._fact_of = array("H")
        for part in parts:
            columns = pq.read_table(part, columns=["image_key", "error", "format", "frames"])
            for row in columns.to_pylist():
                self.add(row)

    def __contains__(self, key: str) -> bool:
        return self._index.get(_short(key)) is not None

    def add(self, row: dict[str, Any]) -> None:
        """Remember a measured row."""
        error, format_ = row.get("error"), row.get("format")
        if error == "wrong_extension":  # a fault of the path, not of the image
            error = "animated" if (row.get("frames") or 1) > 1 and format_ != "MPO" else None
        fact = (error, format_)
        if fact not in self._facts:
            self._facts.append(fact)
        self._index.add(_short(row["image_key"]), len(self._fact_of))
        self._fact_of.append(self._facts.index(fact))

    def path_error(self, path: str, key: str) -> tuple[str | None, str | None]:
        """Class and detail of a path that leads to the known image ``key``."""
        number = self._index.get(_short(key))
        error, format_ = self._facts[self._fact_of[number]] if number is not None else (None, None)
        if error is not None and error not in _STILL_DECODES:
            return error, None
        misnamed = wrong_extension(path, format_ or "") if format_ else None
        return ("wrong_extension", misnamed) if misnamed else (error, None)


class KnownPaths:
    """Paths of earlier blocks and whether they still are what they were."""

    def __init__(self, store: Store) -> None:
        self._index = HashIndex()
        self._sizes, self._times = array("q"), array("q")
        self._errors: list[str] = [""]
        self._error_of = array("B")
        self._keyed = array("b")
        self._replaced = array("b")
        for table in store.known_paths():
            for row in table.to_pylist():
                self.add(PathRow(**{**row, "size": row["size"] or 0, "mtime_ns": row["mtime_ns"] or -1}))

    def add(self, row: PathRow) -> None:
        """Remember a path; an older row of it no longer counts."""
        before = self._index.put(row.path, len(self._sizes))
        if before is not None:
            self._replaced[before] = 1
        self._sizes.append(row.size)
        self._times.append(row.mtime_ns)
        if (row.error or "") not in self._errors:
            self._errors.append(row.error or "")
        self._error_of.append(self._errors.index(row.error or ""))
        self._keyed.append(row.image_key is not None)
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
        if self._keyed[number]:
            try:
                status = os.stat(f"{root}/{path}")  # noqa: PTH116 (a million of these)
            except (OSError, ValueError):
                return None
            same = (status.st_size, status.st_mtime_ns) == (self._sizes[number], self._times[number])
            return error if same and stat.S_ISREG(status.st_mode) else None
        return error if locate(path, root, max_bytes=max_bytes).error == error else None


def _short(key: str) -> int:
    return int(key[:16], 16) or 1


_REMEASURED_A_TASK = 16


def bring_up_to_date(store: Store, wanted: dict[str, Any], plan: Plan, models: Callable[[], Models], pool: Pool) -> int:
    """Rewrite the parts that were measured otherwise than ``wanted``; returns the number of decodes.

    Each part is replaced as a whole, so a killed run goes on with the next one.
    """
    stale = [part for part in store.parts() if store.signals_of(part) != wanted]
    if not stale:
        return 0
    return sum(
        _remeasured(store, part, wanted, plan, models, pool) for part in track(stale, "measure again", len(stale))
    )


def _remeasured(
    store: Store, part: Path, wanted: dict[str, Any], plan: Plan, models: Callable[[], Models], pool: Pool
) -> int:
    had = store.signals_of(part)
    names = [name for name in wanted if had.get(name) != wanted[name]]
    from_scratch = "decode" in names
    needed = [name for name in (wanted if from_scratch else names) if name != "decode" and wanted[name] is not None]
    columns = [column for name in names for column in SIGNAL_COLUMNS.get(name, ())]
    rows = [{**row, **dict.fromkeys(columns)} for row in pq.read_table(part).to_pylist()]
    decodes = 0
    if needed:
        asked_models = models() if {"clip", "nsfw"} & set(needed) else None
        clip = asked_models.clip if asked_models and "clip" in needed else None
        task = replace(
            plan,
            signals=tuple(name for name in needed if name in IMAGE_SIGNALS),
            clip=clip.input if clip else None,
            nsfw="nsfw" in needed,
        )
        chosen = [row for row in rows if from_scratch or row["width"] is not None]
        fresh = list(_measure_rows(chosen, store, task, asked_models, pool))
        decodes = len(fresh)
        for row, new in zip(chosen, fresh, strict=True):
            if new.get("error") == "missing":  # no file has these bytes any more, so no sample does
                continue
            row.update(new if from_scratch else {column: new.get(column) for column in columns})
    width = models().clip.width if wanted["clip"] is not None else None  # type: ignore[union-attr]
    store.write_part(part, rows, image_schema(width, wanted))
    return decodes


def _measure_rows(
    rows: list[dict[str, Any]], store: Store, plan: Plan, models: Models | None, pool: Pool
) -> Iterator[dict[str, Any]]:
    files = [PathRow(row["path"], row["image_key"], size=row["bytes"]) for row in rows]
    tasks = [files[start : start + _REMEASURED_A_TASK] for start in range(0, len(files), _REMEASURED_A_TASK)]
    found = pool.map(functools.partial(measure, plan), tasks, crashed_file)
    measured = itertools.chain.from_iterable(found)
    complete = models.complete(measured) if models else (one.row for one in measured)
    for file, row in zip(files, complete, strict=True):
        if row.get("error") != "missing":
            yield row
            continue
        # The first path that led to these bytes is gone; perhaps another one still does.
        others = pq.read_table(store.folder / PATHS, columns=["path"], filters=[("image_key", "=", file.image_key)])
        again = [replace(file, path=path) for path in others["path"].to_pylist() if path != file.path]
        alive = [one for one in measure(plan, again) if one.row.get("error") != "missing"][:1]
        yield from (models.complete(alive) if models and alive else [one.row for one in alive] or [row])


_PATHS_A_TASK, _IMAGES_A_TASK = 64, 16
Item = TypeVar("Item")


@dataclass(frozen=True)
class MeasureReport:
    """What one call of ``measure_images`` did.

    Attributes:
        paths: distinct paths asked for.
        images: unique images measured in this call.
        known: distinct paths that were measured before and have not changed.
        decodes: images decoded in this call.
        errors: preflight class → number of paths, over all paths asked for.
    """

    paths: int
    images: int
    known: int
    decodes: int
    errors: Mapping[str, int]


def measure_images(
    paths: Iterable[str], image_root: Path, out: Path, settings: MeasureSettings, *, pool: Pool | None = None
) -> MeasureReport:
    """Measure every image that is not yet in ``out`` (the ``signals`` folder).

    A path whose file has the size and time of before is not opened. Files are read and hashed, and
    images whose bytes are new are decoded, once. Work is written in blocks of ``shard_size`` paths; a
    killed run goes on after the last whole block and ends with the bytes it would have had. Parts whose
    signals have another version or model than wanted are measured anew, in those signals only.

    Args:
        paths: relative to ``image_root``, in input order; repetitions are fine.
        out: folder of ``part-*.parquet`` and ``paths.parquet``.
        pool: worker processes to use; None starts ``settings.workers`` and ends them.

    Raises:
        UserError: no such root, a model cannot be loaded, or ``out`` cannot be written.
    """
    if not image_root.is_dir():
        raise UserError(f"{image_root}: no such folder of images")
    store = Store(out)
    wanted = signals_wanted(settings)
    models = functools.cache(functools.partial(Models.load, settings))
    names = tuple(name for name in IMAGE_SIGNALS if wanted[name] is not None)
    plan = Plan(str(image_root.resolve()), settings.max_bytes, settings.max_pixels, names, None, False)
    with contextlib.ExitStack() as stack:
        pool = pool or stack.enter_context(open_pool(settings.engine, settings.workers))
        decodes = bring_up_to_date(store, wanted, plan, models, pool)
        images, known = KnownImages(store.parts()), KnownPaths(store)
        asked, errors = HashIndex(), Counter[str]()
        measured = found_known = 0
        total = len(paths) if isinstance(paths, Sized) else None

        def new_paths() -> Iterator[str]:
            nonlocal found_known
            for path in paths:
                bar.advance()
                if asked.add(path, 0) is not None:
                    continue
                error = known.unchanged(path, plan.root, settings.max_bytes)
                if error is None:
                    yield path
                else:
                    found_known += 1
                    errors.update([error] if error else [])

        with Bar("measure images", total) as bar:
            for block in batched(new_paths(), settings.shard_size):
                loaded = models()
                block_plan = replace(
                    plan, clip=loaded.clip.input if loaded.clip else None, nsfw=loaded.nsfw is not None
                )
                rows_of_paths = _identified(block, plan, pool)
                first = {row.image_key: row for row in reversed(rows_of_paths) if row.image_key}
                files = [row for row in rows_of_paths if row.image_key and first[row.image_key] is row]
                files = [row for row in files if row.image_key and row.image_key not in images]
                rows = list(loaded.complete(_measured(files, block_plan, pool)))
                for row in rows:
                    images.add(row)
                decodes += sum(row["bytes"] > 0 for row in rows)
                measured += len(rows)
                classed = [_with_class(row, images) for row in rows_of_paths]
                store.write_block(rows, image_schema(loaded.clip.width if loaded.clip else None, wanted), classed)
                for row_of_path in classed:
                    known.add(row_of_path)
                    errors.update([row_of_path.error] if row_of_path.error else [])
        store.finish(known.superseded())
    return MeasureReport(len(asked), measured, found_known, decodes, dict(sorted(errors.items())))


def _identified(block: list[str], plan: Plan, pool: Pool) -> list[PathRow]:
    tasks = batched(block, _PATHS_A_TASK)
    return list(itertools.chain.from_iterable(pool.map(functools.partial(identify, plan), tasks, crashed_path)))


def _measured(files: Iterable[PathRow], plan: Plan, pool: Pool) -> Iterator[Measured]:
    tasks = batched(files, _IMAGES_A_TASK)
    return itertools.chain.from_iterable(pool.map(functools.partial(measure, plan), tasks, crashed_file))


def _with_class(row: PathRow, images: KnownImages) -> PathRow:
    if row.image_key is None:
        return row
    error, detail = images.path_error(row.path, row.image_key)
    return replace(row, error=error, error_detail=detail)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
