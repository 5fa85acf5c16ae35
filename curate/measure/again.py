"""Stored rows whose signals have another version, model or cap than wanted: only those signals are measured anew."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.measure.engines import Pool
from curate.measure.models import Models
from curate.measure.row import PathRow, Plan, crashed_file, measure
from curate.measure.store import PATHS, Store, image_schema
from curate.signals import IMAGE_SIGNALS, SIGNAL_COLUMNS
from winnow.progress import track

_IMAGES_A_TASK = 16


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
    tasks = [files[start : start + _IMAGES_A_TASK] for start in range(0, len(files), _IMAGES_A_TASK)]
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
