"""A folder that ``datasets.load_dataset("imagefolder", data_dir=…)`` reads: images and ``metadata.parquet``.

``images_file_names`` becomes the column ``images``, a list, so that rows with several images or none
fit too (under the name ``file_names`` the loader takes an empty list for a missing one). ``meta`` is JSON
text: its shape differs from row to row, a column's must not. Parquet rather than JSON lines, because a
column that is empty in one split would get another type there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.exports.rows import Row, Target, copy_images
from winnow.files import atomic_path

_TEXTS = pa.list_(pa.string())
COLUMNS = [
    ("id", pa.string()),
    ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ("answers", _TEXTS),
    ("source", pa.string()),
    ("split", pa.string()),
    ("meta", pa.string()),
]
SCHEMA = pa.schema([("images_file_names", _TEXTS), *COLUMNS])
_BATCH = 1000


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>/metadata.parquet`` and ``<split>/images/``."""
    waiting: dict[str, list[dict[str, Any]]] = {split: [] for split in target.splits}
    with contextlib.ExitStack() as stack:
        writers = {}
        for split in target.splits:
            path = stack.enter_context(atomic_path(target.folder / split / "metadata.parquet"))
            writers[split] = stack.enter_context(pq.ParquetWriter(path, SCHEMA))

        def flush(split: str) -> None:
            writers[split].write_table(pa.Table.from_pylist(waiting[split], SCHEMA))
            waiting[split].clear()

        for row in rows:
            names = copy_images(row, target.folder / row.split)
            waiting[row.split].append({"images_file_names": names, **columns(row)})
            if len(waiting[row.split]) >= _BATCH:
                flush(row.split)
        for split in target.splits:
            flush(split)


def columns(row: Row) -> dict[str, Any]:
    """A record as flat columns of one type each (``COLUMNS``)."""
    sample = row.sample
    return {
        "id": sample.id,
        "messages": [{"role": turn.role, "content": turn.value} for turn in sample.conversations],
        "answers": list(sample.answers),
        "source": sample.source,
        "split": sample.split,
        "meta": json.dumps(dict(sample.meta), ensure_ascii=False),
    }
