"""Embeds the pictures of a run that no curation has embedded: once, in the background, in batches that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.signals.clip import ClipInput, clip_pixels
from dashboards.data.catalog import Folder, image_root
from dashboards.data.engine import fetch
from dashboards.find.background import Report
from dashboards.find.embeddings import Store, model_of
from dashboards.find.search import load_model, pictured_run
from dashboards.images.store import REASONS, NoImageError, contained, pixels
from winnow.errors import UserError
from winnow.files import sha256_bytes

MOST = 20_000  # pictures at a time; the page offers the next ones when these are done
_BATCH = 64


def embed_missing(run: Folder, folder: Folder, report: Report) -> None:
    """Embed up to ``MOST`` pictures of a run by the model of a curated set, and store each batch as it is done.

    Raises:
        UserError: the set has no model, it cannot be loaded, or none of the pictures can be read.
    """
    model, pictured = model_of(folder), pictured_run(run, folder)
    if model is None or pictured is None:
        raise UserError(f"{folder.path}: it holds no embeddings")
    clip, store = load_model(model), Store(folder.root, model)
    left = np.flatnonzero((pictured.place < 0) & (pictured.key > 0))
    keys, first = np.unique(pictured.key[left], return_index=True)
    rows = pictured.row[left[first]][:MOST]
    short = dict(zip(rows.tolist(), keys[:MOST], strict=True))
    reasons: list[str] = []
    report(0, len(rows))
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH].tolist()
        found = dict(_pictures(run, batch, clip.input, reasons))
        if found:
            vectors = clip.embed_images(np.stack(list(found.values())))
            store.append(np.array([short[row] for row in found], dtype=np.uint64), vectors)
        report(start + len(batch), len(rows))
    if reasons:
        raise UserError(
            f"{len(reasons):,} of {len(rows):,} pictures of {run.name} could not be embedded"
            f" (the first: {REASONS[reasons[0]]}); the others were"
        )


def _pictures(
    run: Folder, rows: list[int], wanted: ClipInput, reasons: list[str]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Row and (height, width, 3) pixels of each row whose picture can be read; appends why others cannot."""
    sql = """
        SELECT file_row_number AS row, task, images, image_keys FROM read_parquet(?, file_row_number = true)
        WHERE file_row_number IN (SELECT unnest(?))"""
    for row in fetch(run.connection, sql, [run.file("predictions.parquet"), rows]):
        relative, key = next((path, key) for path, key in zip(row["images"], row["image_keys"], strict=True) if key)
        try:
            yield row["row"], _pixels(image_root(run, row["task"]), relative, key, wanted)
        except NoImageError as error:
            reasons.append(error.reason)


def _pixels(root: Path | None, relative: str, key: str, wanted: ClipInput) -> NDArray[np.uint8]:
    try:
        data = contained(root, relative).read_bytes() if root else b""
    except (OSError, UserError) as error:
        raise NoImageError("missing") from error
    if sha256_bytes(data) != key:
        raise NoImageError("changed" if data else "missing")
    with pixels(data) as image:
        return clip_pixels(image, wanted)
