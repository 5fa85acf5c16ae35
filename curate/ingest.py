"""Sources in, one table of rows out: input order, unique ids, images as files below one common root."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import UserError
from curate.materialise import Fetcher, ImageStore, materialised
from curate.progress import track
from curate.sample import BadRow, Sample, full_id, to_record
from curate.seen import SeenTexts
from curate.settings import SourceSettings
from curate.sources import OpenedSource, open_source
from curate.unavailable import is_url, unavailable_class
from curate.workspace import write_parquet

ROWS = pa.schema(
    [
        ("position", pa.int64()),
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("images", pa.list_(pa.string())),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("question_type", pa.string()),
        ("record", pa.string()),
        ("bad_row", pa.string()),
    ]
)
_BATCH = 4096
_ROWS_TRIED = 50


Opened = Sequence[tuple[SourceSettings, OpenedSource]]


def open_sources(settings: Sequence[SourceSettings]) -> Opened:
    """Open every source, in recipe order.

    Raises:
        UserError: a source does not exist or has no known layout.
    """
    return tuple((one, open_source(one)) for one in settings)


def write_rows(
    sources: Opened,
    target: Path,
    store: ImageStore,
    *,
    max_bytes: int,
    fetcher: Fetcher | None = None,
    label: str = "read sources",
) -> Path:
    """Stream every row of every source to ``target`` (schema ``ROWS``), and embedded and remote images to ``store``.

    A row that cannot be read keeps its place, with an id made from its position and the reason in ``bad_row``.

    Args:
        max_bytes: larger embedded images are classed, not stored.
        fetcher: fetches remote images; None leaves them where they are.

    Returns:
        The folder that all image paths are relative to: the narrowest that holds every folder with an image.

    Raises:
        UserError: two rows have the same id, or an image or the table cannot be written.
    """
    folders = _first_folders(sources, store, fetcher)
    while True:
        root = _common(folders or {_absolute(source.image_root) for _, source in sources})
        rows = _rows(sources, store, root, folders, max_bytes, fetcher)
        try:
            write_parquet(target, _batches(track(rows, label)), ROWS)
        except _AnotherFolderError as found:  # none of the first rows had an image there: read again
            folders = folders | {found.folder}
        else:
            return root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root


class _AnotherFolderError(Exception):
    """A row has an image in a folder that the common root was not made for."""

    def __init__(self, folder: str) -> None:
        self.folder = folder


def _first_folders(sources: Opened, store: ImageStore, fetcher: Fetcher | None) -> frozenset[str]:
    """Folders that the images of each source's first rows lie in."""
    found: set[str] = set()
    for _, source in sources:
        own, stored = _absolute(source.image_root), _absolute(store.folder)
        for row in itertools.islice(source.rows(), _ROWS_TRIED):
            if isinstance(row, Sample):
                found.update(_folder_of(path, row, own, stored) or "" for path in row.image)
                found.update(stored for path in row.image if fetcher is not None and is_url(path))
    return frozenset(found - {""})


def _folder_of(path: str, sample: Sample, own: str, stored: str) -> str | None:
    """What ``path`` is relative to; None for images that are no files."""
    if unavailable_class(path) is not None:
        return None
    return stored if path in sample.embedded else own


def _common(folders: Iterable[str]) -> Path:
    return Path(os.path.commonpath(list(folders)))


def _absolute(folder: Path) -> str:
    return str(folder.absolute())


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield pa.RecordBatch.from_pylist(batch, ROWS)
            batch = []
    if batch:
        yield pa.RecordBatch.from_pylist(batch, ROWS)


def _rows(
    sources: Opened, store: ImageStore, root: Path, folders: frozenset[str], max_bytes: int, fetcher: Fetcher | None
) -> Iterator[dict[str, Any]]:
    seen = SeenTexts()
    position = 0
    stored = _absolute(store.folder)
    for settings, source in sources:
        own = _absolute(source.image_root)
        prefixes = {folder: os.path.relpath(folder, root) for folder in (own, stored)}
        for row in materialised(source.rows(), store, max_bytes=max_bytes, fetcher=fetcher):
            if isinstance(row, BadRow):
                made = _bad_row(row, settings)
            else:
                lies_in = [_folder_of(path, row, own, stored) for path in row.image]
                for folder in lies_in:
                    if folder is not None and folder not in folders:
                        raise _AnotherFolderError(folder)
                made = row_of(_below(row, [prefixes[folder] if folder else "." for folder in lies_in]))
            first = seen.add(made["sample_id"], position)
            if first is not None:
                raise UserError(
                    f"{settings.location}: id {made['sample_id']!r} occurs twice: rows {first} and {position} (from 0,"
                    " over all sources); give the source another `source` or `split`, or set `ids: position`"
                )
            yield {"position": position, **made}
            position += 1


def row_of(sample: Sample) -> dict[str, Any]:
    """The sample's columns, without its position."""
    kind = sample.meta.get("question_type")
    return {
        "sample_id": sample.id,
        "source": sample.source,
        "split": sample.split,
        "images": list(sample.image),
        "question": sample.question,
        "answer": sample.answer,
        "answers": list(sample.answers),
        "question_type": kind if isinstance(kind, str) else None,
        "record": json.dumps(to_record(sample), ensure_ascii=False),
        "bad_row": None,
    }


def _bad_row(row: BadRow, settings: SourceSettings) -> dict[str, Any]:
    source = settings.source or Path(settings.location).stem
    sample_id = full_id(f"bad-row-{row.position}", source, settings.split)
    record = {"id": sample_id, "meta": {"where": row.where, "bad_row": row.reason}}
    return {
        "sample_id": sample_id,
        "source": row.source or source,
        "split": row.split or settings.split,
        "images": [],
        "question": "",
        "answer": "",
        "answers": [],
        "question_type": None,
        "record": json.dumps(record, ensure_ascii=False),
        "bad_row": f"{row.where}: {row.reason}",
    }


def _below(sample: Sample, prefixes: Sequence[str]) -> Sample:
    """The sample with each image path below the common root; where they stood before is kept in ``meta.image_path``.

    An image of the store was at no path before, so only files of the dataset are noted there.
    """
    moved = tuple(_joined(path, prefix) for path, prefix in zip(sample.image, prefixes, strict=True))
    if moved == sample.image:
        return sample
    before = sample.image[0] if len(sample.image) == 1 else list(sample.image)
    own = any(path not in sample.embedded for path in sample.image)
    meta = {**sample.meta, "image_path": before} if own else sample.meta
    return dataclasses.replace(sample, image=moved, meta=meta)


def _joined(path: str, prefix: str) -> str:
    if prefix == "." or path.startswith("/"):
        return path
    joined = os.path.normpath(f"{prefix}/{path}")
    return joined if joined.startswith(f"{prefix}/") else path  # leaves its own root: preflight must see that
