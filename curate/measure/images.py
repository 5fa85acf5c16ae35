"""Decode once, measure everything: one row per unique image.

``measure_images`` writes ``part-*.parquet`` and ``paths.parquet``. It resumes, and ends with the same bytes
whatever the number of workers. Of stored rows whose signals have another version, model or cap than wanted, those
signals alone are measured again. What could not be measured is counted in ``not_measured.json`` beside the parts.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.engines import batched, open_pool
from curate.engines.pool import Pool
from curate.engines.worker import Unreachable
from curate.measure.claims import open_claims
from curate.measure.mirrored import Mirrored
from curate.measure.models import Models, forget_models, signals_wanted
from curate.measure.row import (
    MeasuredImage,
    MeasurePlan,
    PathRow,
    Seen,
    crashed_file,
    identify,
    lost_file,
    measure,
    read_images,
)
from curate.measure.store import CACHE, PATHS, MeasuredImages, MeasuredPaths, Store, image_schema, path_digests
from curate.measure.unmeasured import Unmeasured
from curate.settings.signals import MeasureSettings
from curate.signals import PIXEL_SIGNALS, SIGNALS
from curate.workspace import STORED_IMAGES
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.media.images import NOT_MEASURED
from winnow.media.near_files import NearSources
from winnow.progress import Bar, track

_PATHS_A_LOOK = 8192
_IMAGES_A_TASK = 16
_PATHS_EXPECTED = 1 << 20  # of an input that does not say how many it has


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
    edits: bool = True, sources: Sequence[Path] | None = None, mirrored: Mirrored | None = None,
    pool: Pool | None = None,
) -> MeasureReport:  # fmt: skip
    """Measure every image that is not yet in ``out`` (the ``signals`` folder).

    A path whose file has kept its size and times is not opened. Any other file is read once, and decoded if its bytes
    are new. Work is written in blocks of ``shard_size`` paths; a killed run continues after the last whole block and
    ends with the same bytes. Of parts whose signals have another version or model than wanted, those signals alone are
    measured again.

    Args:
        paths: relative to ``image_root``, in input order; repetitions are fine.
        out: folder of ``part-*.parquet`` and ``paths.parquet``.
        edits: whether to measure what only the search for edited copies reads.
        sources: folders in ``image_root`` in which to look for what is near a missing image; None looks in all of it.
        mirrored: brings images from object storage where workers are on other machines.
        pool: worker processes to use; None starts ``settings.workers`` and ends them.

    Raises:
        UserError: no such root, a model cannot be loaded, or ``out`` cannot be written.
    """
    if not image_root.is_dir():
        raise UserError(f"{image_root}: no such folder of images")
    store, unmeasured = Store(out), Unmeasured()
    wanted = signals_wanted(settings, edits=edits)
    models = functools.cache(functools.partial(Models.load, settings))
    names = tuple(name for name in PIXEL_SIGNALS if wanted[name] is not None)
    plan = MeasurePlan(
        str(image_root.resolve()), settings.max_bytes, settings.max_pixels, names, None, False, None, mirrored
    )
    with contextlib.ExitStack() as stack:
        stack.callback(forget_models)
        folders = [*([image_root] if sources is None else sources), out.parent / STORED_IMAGES]
        pool = pool or stack.enter_context(open_pool(settings.engine, settings.workers, folders))
        decodes, measured = _remeasure(store, wanted, plan, models, pool, unmeasured), 0
        images, known = MeasuredImages(store.parts()), MeasuredPaths(store)
        near = NearSources(image_root, [image_root] if sources is None else sources)
        count = len(paths) if isinstance(paths, Sized) else None
        new = _NewPaths(paths, known, plan, stack.enter_context(Bar("measure images", count)))
        numbered = enumerate(new)
        for first in itertools.islice(numbered, 1):  # without any, no model is loaded
            claims = stack.enter_context(open_claims(out / CACHE, images.known, count or _PATHS_EXPECTED))
            full = replace(plan, clip=models().input, nsfw=models().nsfw is not None, claims=claims)
            todo = itertools.chain([first], numbered)
            for block in _blocks(todo, full, models(), images, pool, settings.shard_size):
                path_rows = [_with_hint(row, near) for row in block.paths]
                store.write_block(block.rows, image_schema(models().clip_width, wanted), path_rows)
                known.replace([row.path for row in path_rows])
                for row in path_rows:
                    new.errors.update([row.error] if row.error else [])
                    if row.error == NOT_MEASURED:
                        unmeasured.add(row.path, row.error_detail or "")
                decodes += block.decodes
                measured += len(block.rows)
        store.finish(known)
    unmeasured.write(out)
    return MeasureReport(new.count, measured, new.unchanged, decodes, dict(sorted(new.errors.items())))


class _NewPaths:
    """The distinct paths of the input whose files have to be read; for one iteration.

    Attributes:
        count: distinct paths so far.
        unchanged: those of them that were measured before and are as they were.
        errors: their classes, counted.
    """

    def __init__(self, paths: Iterable[str], known: MeasuredPaths, plan: MeasurePlan, bar: Bar) -> None:
        self._paths, self._known, self._plan, self._bar = paths, known, plan, bar
        self.count = self.unchanged = 0
        self.errors: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        known, plan = self._known, self._plan
        asked, asked_known = HashIndex(), bytearray(len(known))
        for look in batched(self._paths, _PATHS_A_LOOK):
            digests = path_digests(look)
            for path, digest, number in zip(look, digests.tolist(), known.numbers(digests).tolist(), strict=True):
                if number < 0:
                    if asked.add(digest or 1, 0) is None:
                        self.count += 1
                        yield path
                elif not asked_known[number]:
                    asked_known[number] = 1
                    self.count += 1
                    error = known.unchanged(number, path, plan.root, plan.max_bytes)
                    if error is None:
                        yield path
                    else:
                        self.unchanged += 1
                        self.errors.update([error] if error else [])
            self._bar.advance(len(look))


@dataclass
class _Block:
    """The next ``shard_size`` paths, and a row for each image that is new among them."""

    paths: list[PathRow] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    decodes: int = 0


def _blocks(
    paths: Iterable[tuple[int, str]], plan: MeasurePlan, models: Models, images: MeasuredImages, pool: Pool, size: int
) -> Iterator[_Block]:
    """Read numbered paths in blocks, whose images are added to ``images``.

    Reading, decoding and the models run on while blocks are written: they wait for no block to end.
    """
    seen = itertools.chain.from_iterable(_read(batched(paths, _IMAGES_A_TASK), plan, pool))
    started: collections.deque[_Block] = collections.deque()
    under_way: set[str] = set()  # keys of images whose rows are not complete
    lost: dict[str, str] = {}  # keys of images that could not be measured, and why

    def new_images() -> Iterator[MeasuredImage | None]:
        """The images to complete; None at the end of each block."""
        while True:
            block = _Block()
            started.append(block)
            for each in itertools.islice(seen, size):
                found = each
                block.decodes += found.decodes
                if found.image is None and (key := found.path.image_key) and key not in images and key not in under_way:
                    # The path that had claimed to decode it was lost.
                    ((found,),) = _read([[(0, found.path.path)]], replace(plan, claims=None), pool)
                    block.decodes += found.decodes
                block.paths.append(found.path)
                key = found.path.image_key
                if found.image is not None and key and key not in images and key not in under_way:
                    under_way.add(key)
                    yield found.image
            if not block.paths:
                return
            yield None

    for row in models.complete(new_images(), pool):
        if row is None:
            block = started.popleft()
            block.paths = [_with_class(path, images, lost) for path in block.paths]
            yield block
            continue
        under_way.remove(row["image_key"])
        if row.get("error") == NOT_MEASURED:
            lost[row["image_key"]] = row["error_detail"]
        else:
            images.add(row)
            started[0].rows.append(row)


def _read(tasks: Iterable[list[tuple[int, str]]], plan: MeasurePlan, pool: Pool) -> Iterator[list[Seen]]:
    return pool.map(functools.partial(read_images, plan), tasks, functools.partial(_crashed_path, plan), _lost_path)


def _crashed_path(plan: MeasurePlan, numbered: tuple[int, str]) -> Seen:
    """A file that has killed its process is hashed here, which decodes nothing."""
    try:
        row = identify(plan, numbered[1])
    except Unreachable as error:
        return _lost_path(numbered, str(error))
    return Seen(row, crashed_file(row) if row.image_key else None)


def _lost_path(numbered: tuple[int, str], why: str) -> Seen:
    return Seen(PathRow(numbered[1], None, NOT_MEASURED, why))


def _measured(files: Iterable[PathRow], plan: MeasurePlan, pool: Pool) -> Iterator[MeasuredImage]:
    tasks = batched(files, _IMAGES_A_TASK)
    return itertools.chain.from_iterable(pool.map(functools.partial(measure, plan), tasks, crashed_file, lost_file))


def _with_class(row: PathRow, images: MeasuredImages, lost: Mapping[str, str]) -> PathRow:
    if row.image_key is None:
        return row
    if row.image_key not in images and row.image_key in lost:
        return replace(row, image_key=None, error=NOT_MEASURED, error_detail=lost[row.image_key])
    error, detail = images.path_error(row.path, row.image_key)
    return replace(row, error=error, error_detail=detail)


def _with_hint(row: PathRow, near: NearSources) -> PathRow:
    """A missing image's row, with what is near it."""
    hint = near.hint(row.path, row.error, row.error_detail)
    return replace(row, error_detail=hint.text) if hint else row


def _remeasure(
    store: Store, wanted: dict[str, Any], plan: MeasurePlan, models: Callable[[], Models], pool: Pool,
    unmeasured: Unmeasured,
) -> int:  # fmt: skip
    """Bring stored parts up to date with ``wanted``: only signals of another version, model or cap are measured.

    Each part is replaced as a whole, so that a killed run continues with the next one.

    Args:
        wanted: signal name → version; None for a signal that is off.
        models: loads the models; called only if a signal needs them.
        unmeasured: gets the images that could not be measured; their parts stay due.

    Returns:
        The number of images decoded.
    """
    stale = [part for part in store.parts() if store.signals_of(part) != wanted]
    if not stale:
        return 0
    return sum(
        _remeasure_part(store, part, wanted, plan, models, pool, unmeasured)
        for part in track(stale, "measure again", len(stale))
    )


def _remeasure_part(
    store: Store, part: Path, wanted: dict[str, Any], plan: MeasurePlan, models: Callable[[], Models], pool: Pool,
    unmeasured: Unmeasured,
) -> int:  # fmt: skip
    had = store.signals_of(part)
    names = [name for name in wanted if had.get(name) != wanted[name]]
    from_scratch = "decode" in names
    needed = [name for name in (wanted if from_scratch else names) if name != "decode" and wanted[name] is not None]
    columns = [column for name in names if name in SIGNALS for column in SIGNALS[name].columns]
    rows = [{**row, **dict.fromkeys(columns)} for row in pq.read_table(part).to_pylist()]
    decodes, made = 0, wanted
    if needed:
        needed_models = models() if {"clip", "nsfw"} & set(needed) else None
        task = replace(
            plan,
            signals=tuple(name for name in needed if name in PIXEL_SIGNALS),
            clip=needed_models.input if needed_models and "clip" in needed else None,
            nsfw="nsfw" in needed,
        )
        chosen = [row for row in rows if from_scratch or row["width"] is not None]
        fresh = list(_measured_rows(chosen, store, task, needed_models, pool))
        decodes = len(fresh)
        for row, new in zip(chosen, fresh, strict=True):
            if new.get("error") == "missing":  # no file has these bytes any more, so no sample does
                continue
            if new.get("error") == NOT_MEASURED:
                unmeasured.add(row["path"], new["error_detail"])
                made = {**wanted, **dict.fromkeys(names)}  # so the next run measures these again
                continue
            row.update(new if from_scratch else {column: new.get(column) for column in columns})
    width = models().clip_width if wanted["clip"] is not None else None
    store.write_part(part, rows, image_schema(width, made))
    return decodes


def _measured_rows(
    rows: list[dict[str, Any]], store: Store, plan: MeasurePlan, models: Models | None, pool: Pool
) -> Iterator[dict[str, Any]]:
    files = [PathRow(row["path"], row["image_key"], size=row["bytes"]) for row in rows]

    def complete(measured: Iterable[MeasuredImage]) -> Iterator[dict[str, Any]]:
        found = models.complete(measured, pool) if models else (image.row for image in measured)
        return (row for row in found if row is not None)

    for file, row in zip(files, complete(_measured(files, plan, pool)), strict=True):
        if row.get("error") != "missing":
            yield row
            continue
        # The first path that led to these bytes is gone; perhaps another one still does.
        others = pq.read_table(store.folder / PATHS, columns=["path"], filters=[("image_key", "=", file.image_key)])
        elsewhere = [replace(file, path=path) for path in others["path"].to_pylist() if path != file.path]
        found = [image for image in _measured(elsewhere, plan, pool) if image.row.get("error") != "missing"]
        alive = [image for image in found if image.row.get("error") != NOT_MEASURED] or found
        yield from complete(alive[:1]) if alive else [row]
