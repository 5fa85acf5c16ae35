"""Sources in, one table of rows out: input order, unique ids, images as files below one common root."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.readers import open_source
from curate.readers.images import Fetcher, ImageStore
from curate.reading.placed import AnotherFolderError, Opened, absolute, common, first_folders, placed_rows
from curate.sample import BadRow, Sample, full_id
from curate.settings import SourceSettings
from curate.workspace import write_parquet
from winnow.errors import UserError
from winnow.progress import track
from winnow.records import to_record
from winnow.seen import SeenTexts

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
    folders = first_folders(sources, store, fetcher)
    while True:
        root = common(folders or {absolute(source.image_root) for _, source in sources})
        rows = _rows(sources, store, root, folders, max_bytes, fetcher)
        try:
            write_parquet(target, _batches(track(rows, label)), ROWS)
        except AnotherFolderError as found:  # none of the first rows had an image there: read again
            folders = folders | {found.folder}
        else:
            return root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root


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
    for position, (settings, row) in enumerate(placed_rows(sources, store, root, folders, max_bytes, fetcher)):
        made = _bad_row(row, settings) if isinstance(row, BadRow) else row_of(row)
        first = seen.add(made["sample_id"], position)
        if first is not None:
            raise UserError(
                f"{settings.location}: id {made['sample_id']!r} occurs twice: rows {first} and {position} (from 0,"
                " over all sources); give the source another `source` or `split`, or set `ids: position`"
            )
        yield {"position": position, **made}


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
