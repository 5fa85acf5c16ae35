"""The table of rows as they were read: one row a sample or bad row, in columns that later steps query."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.settings.sources import SourceSettings
from winnow.rows.keys import comparison_keys
from winnow.rows.records import BadRow, Sample, full_id, to_line

ROWS = pa.schema(
    [
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
        ("question_key", pa.string()),
        ("answer_key", pa.string()),
        ("context_key", pa.string()),
        ("derived_id", pa.bool_()),
    ]
)
_BATCH = 4096
Row = tuple[Any, ...]  # a value for each column of ``ROWS``


def row_of(sample: Sample) -> Row:
    """The columns of a sample."""
    kind = sample.meta.get("question_type")
    return (
        sample.id,
        sample.source,
        sample.split,
        sample.image,
        sample.question,
        sample.answer,
        sample.answers,
        kind if isinstance(kind, str) else None,
        to_line(sample),
        None,
        *comparison_keys(sample),
        sample.form.derived_id,
    )


def bad_row_of(row: BadRow, settings: SourceSettings) -> Row:
    """The columns of a row that could not be read: it keeps its place, with an id made from its position."""
    source = settings.source or Path(settings.location).stem
    sample_id = full_id(f"bad-row-{row.position}", source, settings.split)
    record = {"id": sample_id, "meta": {"where": row.where, "bad_row": row.reason}}
    return (
        sample_id,
        row.source or source,
        row.split or settings.split,
        (),
        "",
        "",
        (),
        None,
        json.dumps(record, ensure_ascii=False),
        f"{row.where}: {row.reason}",
        "",
        "",
        "",
        False,
    )


def batches_of(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """Rows as batches of ``ROWS``."""
    rows = iter(rows)
    while some := list(islice(rows, _BATCH)):
        columns = zip(*some, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, ROWS, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=ROWS)
