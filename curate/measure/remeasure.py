"""Stored rows whose signals have another version, model or cap than wanted: only those signals are measured again."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.measure.models import Models
from curate.measure.pool import Pool
from curate.measure.row import MeasurePlan, PathRow, crashed_file, measure
from curate.measure.store import PATHS, Store, image_schema
from curate.signals import PIXEL_SIGNALS, SIGNALS
from winnow.progress import track

_REMEASURED_A_TASK = 16


def remeasure(store: Store, wanted: dict[str, Any], plan: MeasurePlan, models: Callable[[], Models], pool: Pool) -> int:
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
    tasks = [files[start : start + _REMEASURED_A_TASK] for start in range(0, len(files), _REMEASURED_A_TASK)]
    found = pool.map(functools.partial(measure, plan), tasks, crashed_file)
    measured = itertools.chain.from_iterable(found)
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
