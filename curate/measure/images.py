"""Decode once, measure everything: one row per unique image.

``measure_images`` writes ``part-*.parquet`` and ``paths.parquet``. It resumes, and ends with the same bytes
whatever the number of workers. Of stored rows whose signals have another version, model or cap than wanted, those
signals alone are measured again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.engines import batched, open_pool
from curate.engines.pool import Pool
from curate.measure.models import Models, signals_wanted
from curate.measure.row import MeasuredImage, MeasurePlan, PathRow, crashed_file, crashed_path, identify, measure
from curate.measure.store import PATHS, MeasuredImages, MeasuredPaths, Store, image_schema
from curate.recipe import MeasureSettings
from curate.signals import PIXEL_SIGNALS, SIGNALS
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.near_files import NearSources
from winnow.progress import Bar, track

_PATHS_A_TASK, _IMAGES_A_TASK = 64, 16


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
    paths: Iterable[str], image_root: Path, out: Path, settings: MeasureSettings, *,
    sources: Sequence[Path] | None = None, pool: Pool | None = None,
) -> MeasureReport:  # fmt: skip
    """Measure every image that is not yet in ``out`` (the ``signals`` folder).

    A path whose file has kept its size and time is not opened. Files are read and hashed, and
    images whose bytes are new are decoded, once. Work is written in blocks of ``shard_size`` paths; a
    killed run continues after the last whole block and ends with the same bytes. Of parts whose signals
    have another version or model than wanted, those signals alone are measured again.

    Args:
        paths: relative to ``image_root``, in input order; repetitions are fine.
        out: folder of ``part-*.parquet`` and ``paths.parquet``.
        sources: folders in ``image_root`` in which to look for what is near a missing image; None looks in all of it.
        pool: worker processes to use; None starts ``settings.workers`` and ends them.

    Raises:
        UserError: no such root, a model cannot be loaded, or ``out`` cannot be written.
    """
    if not image_root.is_dir():
        raise UserError(f"{image_root}: no such folder of images")
    store = Store(out)
    wanted = signals_wanted(settings)
    models = functools.cache(functools.partial(Models.load, settings))
    names = tuple(name for name in PIXEL_SIGNALS if wanted[name] is not None)
    plan = MeasurePlan(str(image_root.resolve()), settings.max_bytes, settings.max_pixels, names, None, False)
    with contextlib.ExitStack() as stack:
        pool = pool or stack.enter_context(open_pool(settings.engine, settings.workers))
        decodes = _remeasure(store, wanted, plan, models, pool)
        images, known = MeasuredImages(store.parts()), MeasuredPaths(store)
        near = NearSources(image_root, [image_root] if sources is None else sources)
        asked, errors = HashIndex(), Counter[str]()
        measured = unchanged = 0
        bar = stack.enter_context(Bar("measure images", len(paths) if isinstance(paths, Sized) else None))

        def new_paths() -> Iterator[str]:
            nonlocal unchanged
            for path in paths:
                bar.advance()
                if asked.add(path, 0) is not None:
                    continue
                error = known.unchanged(path, plan.root, settings.max_bytes)
                if error is None:
                    yield path
                else:
                    unchanged += 1
                    errors.update([error] if error else [])

        for block in batched(new_paths(), settings.shard_size):
            rows, path_rows = _measure_block(block, plan, models(), images, pool)
            path_rows = [_with_hint(row, near) for row in path_rows]
            store.write_block(rows, image_schema(models().clip_width, wanted), path_rows)
            for row in path_rows:
                known.add(row)
                errors.update([row.error] if row.error else [])
            decodes += sum(row["bytes"] > 0 for row in rows)
            measured += len(rows)
        store.finish(known.superseded())
    return MeasureReport(len(asked), measured, unchanged, decodes, dict(sorted(errors.items())))


def _measure_block(
    paths: list[str], plan: MeasurePlan, models: Models, images: MeasuredImages, pool: Pool
) -> tuple[list[dict[str, Any]], list[PathRow]]:
    """A row for each image whose bytes are new, which is added to ``images``, and a row for each path."""
    plan = replace(plan, clip=models.clip.input if models.clip else None, nsfw=models.nsfw is not None)
    tasks = batched(paths, _PATHS_A_TASK)
    located = list(itertools.chain.from_iterable(pool.map(functools.partial(identify, plan), tasks, crashed_path)))
    new = {row.image_key: row for row in reversed(located) if row.image_key and row.image_key not in images}
    files = [row for row in located if row.image_key and new.get(row.image_key) is row]
    rows = list(models.complete(_measured(files, plan, pool)))
    for row in rows:
        images.add(row)
    return rows, [_with_class(row, images) for row in located]


def _measured(files: Iterable[PathRow], plan: MeasurePlan, pool: Pool) -> Iterator[MeasuredImage]:
    tasks = batched(files, _IMAGES_A_TASK)
    return itertools.chain.from_iterable(pool.map(functools.partial(measure, plan), tasks, crashed_file))


def _with_class(row: PathRow, images: MeasuredImages) -> PathRow:
    if row.image_key is None:
        return row
    error, detail = images.path_error(row.path, row.image_key)
    return replace(row, error=error, error_detail=detail)


def _with_hint(row: PathRow, near: NearSources) -> PathRow:
    """A missing image's row, with what is near it."""
    hint = near.hint(row.path, row.error, row.error_detail)
    return replace(row, error_detail=hint.text) if hint else row


def _remeasure(
    store: Store, wanted: dict[str, Any], plan: MeasurePlan, models: Callable[[], Models], pool: Pool
) -> int:
    """Bring stored parts up to date with ``wanted``: only signals of another version, model or cap are measured.

    Each part is replaced as a whole, so that a killed run continues with the next one.

    Args:
        wanted: signal name → version; None for a signal that is off.
        models: loads the models; called only if a signal needs them.

    Returns:
        The number of images decoded.
    """
    stale = [part for part in store.parts() if store.signals_of(part) != wanted]
    if not stale:
        return 0
    return sum(
        _remeasure_part(store, part, wanted, plan, models, pool) for part in track(stale, "measure again", len(stale))
    )


def _remeasure_part(
    store: Store, part: Path, wanted: dict[str, Any], plan: MeasurePlan, models: Callable[[], Models], pool: Pool
) -> int:
    had = store.signals_of(part)
    names = [name for name in wanted if had.get(name) != wanted[name]]
    from_scratch = "decode" in names
    needed = [name for name in (wanted if from_scratch else names) if name != "decode" and wanted[name] is not None]
    columns = [column for name in names if name in SIGNALS for column in SIGNALS[name].columns]
    rows = [{**row, **dict.fromkeys(columns)} for row in pq.read_table(part).to_pylist()]
    decodes = 0
    if needed:
        needed_models = models() if {"clip", "nsfw"} & set(needed) else None
        clip = needed_models.clip if needed_models and "clip" in needed else None
        task = replace(
            plan,
            signals=tuple(name for name in needed if name in PIXEL_SIGNALS),
            clip=clip.input if clip else None,
            nsfw="nsfw" in needed,
        )
        chosen = [row for row in rows if from_scratch or row["width"] is not None]
        fresh = list(_measured_rows(chosen, store, task, needed_models, pool))
        decodes = len(fresh)
        for row, new in zip(chosen, fresh, strict=True):
            if new.get("error") == "missing":  # no file has these bytes any more, so no sample does
                continue
            row.update(new if from_scratch else {column: new.get(column) for column in columns})
    width = models().clip_width if wanted["clip"] is not None else None
    store.write_part(part, rows, image_schema(width, wanted))
    return decodes


def _measured_rows(
    rows: list[dict[str, Any]], store: Store, plan: MeasurePlan, models: Models | None, pool: Pool
) -> Iterator[dict[str, Any]]:
    files = [PathRow(row["path"], row["image_key"], size=row["bytes"]) for row in rows]
    measured = _measured(files, plan, pool)
    complete = models.complete(measured) if models else (image.row for image in measured)
    for file, row in zip(files, complete, strict=True):
        if row.get("error") != "missing":
            yield row
            continue
        # The first path that led to these bytes is gone; perhaps another one still does.
        others = pq.read_table(store.folder / PATHS, columns=["path"], filters=[("image_key", "=", file.image_key)])
        elsewhere = [replace(file, path=path) for path in others["path"].to_pylist() if path != file.path]
        alive = [image for image in measure(plan, elsewhere) if image.row.get("error") != "missing"][:1]
        yield from (models.complete(alive) if models and alive else [image.row for image in alive] or [row])
