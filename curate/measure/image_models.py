"""Signals of models that are too slow for the pass that decodes: each has a table of its own, keyed by image.

``signals/<name>/part-<n>.parquet`` holds one row per image that the model has read, by key, and is written as soon as
it is full: a killed run loses one part at most and ends with the same bytes. Parts of another version are made again.
An image that could not be read has no row, and the next run tries it again: ``failed.json`` beside the parts counts
those that the model failed on, ``not_measured.json`` those that a storage or a machine failed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from curate.engines import batched, open_pool
from curate.engines.pool import Pool
from curate.engines.worker import Unreachable, time_limit
from curate.measure.mirrored import Mirrored
from curate.measure.models import check_image_model, is_out_of_memory
from curate.measure.unmeasured import Unmeasured
from curate.settings.signals import MeasureSettings
from curate.signals.base import ImageModel, ModelUnavailable
from curate.workspace import Workspace
from winnow.errors import UserError, is_unreachable
from winnow.files import write_json
from winnow.media.images import NOT_MEASURED, decode_whole
from winnow.parquet.tables import database, parquet, query_batches, write_parquet
from winnow.progress import Bar
from winnow.text import counted, visible

Reads = Callable[[Image.Image], Mapping[str, Any]]
_IMAGES_A_PART, _IMAGES_A_TASK = 256, 4
_SECONDS = 120  # for one image
_SHOWN = 20  # failures that are named


def measure_with(
    model: ImageModel, workspace: Workspace, image_root: Path, settings: MeasureSettings, *,
    sources: Sequence[Path] = (), mirrored: Mirrored | None = None,
) -> None:  # fmt: skip
    """Read every image of the set's rows that decodes and is not in the model's table yet.

    Args:
        sources: folders in ``image_root`` that hold the images.
        mirrored: brings images from object storage where workers are on other machines.

    Raises:
        UserError: the model cannot be loaded, a part cannot be read or written, or a worker cannot start.
    """
    folder = workspace.model_folder(model.name)
    parts = _current_parts(model, folder)
    numbered = (folder / f"part-{number:05d}.parquet" for number in itertools.count())  # one may have been lost
    failures, failed, unmeasured = workspace.model_failures(model.name), 0, Unmeasured()
    first: list[dict[str, str]] = []
    rows: list[dict[str, Any]] = []
    with database(workspace.work) as connection, contextlib.ExitStack() as stack:
        count = _find_unread(connection, workspace, parts)
        if not count:
            failures.unlink(missing_ok=True)
            unmeasured.write(folder)
            return
        check_image_model(model)
        root = str(image_root.resolve())
        task = functools.partial(_read, model.read, root, mirrored, settings.max_bytes, settings.max_pixels)
        pool = stack.enter_context(open_pool(settings.engine, settings.workers, [*sources, workspace.images]))
        bar = stack.enter_context(Bar(f"read images: {model.name}", count))
        for number, row in enumerate(_results(task, connection, pool), start=1):
            bar.advance()
            if row["failed"] is None:
                rows.append(row)
            elif "lost" in row:
                unmeasured.add(row["path"], row["failed"])
            else:
                failed += 1
                first += [{name: visible(row[name]) for name in ("path", "failed")}] if len(first) < _SHOWN else []
            # Parts are full of images that were read, so that they are cut alike whatever fails again in a later run.
            if rows and (len(rows) == _IMAGES_A_PART or number == count):
                path = next(path for path in numbered if path not in parts)
                write_parquet(path, [pa.Table.from_pylist(rows, model.schema)], model.schema)
                parts.append(path)
                rows = []
    unmeasured.write(folder)
    if not failed:
        failures.unlink(missing_ok=True)
        return
    write_json(failures, {"images": failed, "first": first})
    example = f"the first: {first[0]['path']}, {first[0]['failed']}"
    print(f"{model.name}: not read: {counted(failed, 'image')} ({example}); run again to try them", file=sys.stderr)


def forget(model: ImageModel, workspace: Workspace) -> None:
    """Remove the model's table, so that no rule reads what this recipe does not ask for."""
    shutil.rmtree(workspace.model_folder(model.name), ignore_errors=True)


def _current_parts(model: ImageModel, folder: Path) -> list[Path]:
    """The parts that this version made; if others are there, all are removed."""
    parts = sorted(folder.glob("part-*.parquet"))
    wanted = model.schema.metadata
    try:
        current = all(pq.read_schema(part).metadata == wanted for part in parts)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{folder}: not readable as Parquet ({error}); delete it to measure again") from error
    if not current:
        shutil.rmtree(folder)
    return parts if current else []


def _find_unread(connection: duckdb.DuckDBPyConnection, workspace: Workspace, parts: Sequence[Path]) -> int:
    """Make the table ``unread``: key and first path of every image to read; returns how many there are."""
    measured = workspace.image_parts()
    if not measured:
        return 0
    done = f"ANTI JOIN {parquet(parts)} d USING (image_key)" if parts else ""
    connection.execute(f"""
        CREATE TABLE unread AS
        SELECT image_key, min(path) AS path
        FROM {parquet([workspace.paths])}
        SEMI JOIN (SELECT image_key FROM {parquet(measured)} WHERE phash IS NOT NULL) m USING (image_key)
        SEMI JOIN (SELECT unnest(images) AS path FROM {workspace.rows.sql()}) r USING (path)
        {done}
        GROUP BY image_key
    """)
    return int(connection.table("unread").shape[0])


def _results(
    task: Callable[[list[tuple[str, str]]], list[dict[str, Any]]], connection: duckdb.DuckDBPyConnection, pool: Pool
) -> Iterator[dict[str, Any]]:
    """A row for each unread image, by key."""
    unread = (
        (key, path)
        for batch in query_batches(connection, "SELECT image_key, path FROM unread ORDER BY image_key")
        for key, path in zip(batch.column("image_key").to_pylist(), batch.column("path").to_pylist(), strict=True)
    )
    return itertools.chain.from_iterable(pool.map(task, batched(unread, _IMAGES_A_TASK), _crashed, _lost))


def _read(
    read: Reads, root: str, mirrored: Mirrored | None, max_bytes: int, max_pixels: int, items: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    root = mirrored.root(root, [path for _, path in items]) if mirrored else root
    return [_read_one(read, root, max_bytes, max_pixels, *item) for item in items]


def _read_one(read: Reads, root: str, max_bytes: int, max_pixels: int, key: str, path: str) -> dict[str, Any]:
    row = {"image_key": key, "path": path, "failed": None}
    with time_limit(_SECONDS):
        try:
            data = Path(root, path).read_bytes()
            if hashlib.sha256(data).hexdigest() != key:
                return {**row, "failed": "its file has changed"}
            decoded = decode_whole(data, max_bytes=max_bytes, max_pixels=max_pixels)
            if decoded.facts.error == NOT_MEASURED:
                raise MemoryError
            if decoded.image is None:
                return {**row, "failed": "no longer decodes"}
            return {**row, **read(decoded.image)}
        except ModelUnavailable as error:
            raise UserError(str(error)) from error
        except Exception as error:  # a foreign model can fail in any way; it costs this image
            if (isinstance(error, OSError) and error.errno and is_unreachable(error)) or is_out_of_memory(error):
                raise Unreachable(f"{path}: {error or 'not enough memory'}") from error
            return {**row, "failed": f"{type(error).__name__}: {error}"[:200]}


def _crashed(item: tuple[str, str]) -> dict[str, Any]:
    key, path = item
    return {"image_key": key, "path": path, "failed": "the model crashed on it, or did not end"}


def _lost(item: tuple[str, str], why: str) -> dict[str, Any]:
    key, path = item
    return {"image_key": key, "path": path, "failed": why, "lost": True}
