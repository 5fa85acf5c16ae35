"""Sources in, one table of rows out: input order, unique ids, image paths below one common root."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import UserError
from curate.progress import track
from curate.sample import BadRow, Sample, full_id, to_record
from curate.seen import SeenTexts
from curate.settings import SourceSettings
from curate.sources import OpenedSource, open_source
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


@dataclasses.dataclass(frozen=True)
class Sources:
    """All sources of a recipe, opened.

    Attributes:
        opened: each with its settings, in recipe order.
        root: the folder that all image paths are relative to.
    """

    opened: tuple[tuple[SourceSettings, OpenedSource], ...]
    root: Path


def open_sources(settings: Sequence[SourceSettings]) -> Sources:
    """Open every source and find the common root of their images.

    Raises:
        UserError: a source does not exist or has no known layout.
    """
    opened = tuple((one, open_source(one)) for one in settings)
    roots = {str(source.image_root.absolute()) for _, source in opened}
    common = Path(os.path.commonpath(roots))
    here = Path.cwd()
    return Sources(opened, common.relative_to(here) if common.is_relative_to(here) else common)


def write_rows(sources: Sources, target: Path, label: str = "read sources") -> None:
    """Stream every row of every source to ``target`` (schema ``ROWS``).

    A row that cannot be read keeps its place, with an id made from its position and the reason in ``bad_row``.

    Raises:
        UserError: two rows have the same id.
    """
    write_parquet(target, _batches(track(_rows(sources), label)), ROWS)


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield pa.RecordBatch.from_pylist(batch, ROWS)
            batch = []
    if batch:
        yield pa.RecordBatch.from_pylist(batch, ROWS)


def _rows(sources: Sources) -> Iterator[dict[str, Any]]:
    seen = SeenTexts()
    position = 0
    root = sources.root.absolute()
    for settings, source in sources.opened:
        prefix = os.path.relpath(source.image_root.absolute(), root)
        for row in source.rows():
            if isinstance(row, BadRow):
                made = _bad_row(row, settings)
            else:
                made = row_of(row if prefix == "." else _below(row, prefix))
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
        "source": source,
        "split": settings.split,
        "images": [],
        "question": "",
        "answer": "",
        "answers": [],
        "question_type": None,
        "record": json.dumps(record, ensure_ascii=False),
        "bad_row": f"{row.where}: {row.reason}",
    }


def _below(sample: Sample, prefix: str) -> Sample:
    """The sample with image paths below the common root; where they stood before is kept in ``meta.image_path``."""
    if not sample.image:
        return sample
    moved = tuple(path if path.startswith("/") else os.path.normpath(f"{prefix}/{path}") for path in sample.image)
    if not all(path.startswith(("/", f"{prefix}/")) for path in moved):  # leaves its own root: preflight must see that
        moved = sample.image
    before = sample.image[0] if len(sample.image) == 1 else list(sample.image)
    return dataclasses.replace(sample, image=moved, meta={**sample.meta, "image_path": before})
