"""Parquet with the images in it, as the Hugging Face hub stores image datasets.

``images`` is a list of ``{bytes, path}`` and is declared as ``List(Image)``, so that
``datasets.load_dataset`` gives images. Row groups are small, because a viewer reads one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.exports.imagefolder import COLUMNS, columns
from curate.exports.rows import Row, Shard, Target, read_image, shards, suffix_of
from winnow.files import atomic_path

_GROUP_BYTES = 32 << 20
_GROUP_ROWS = 1000
_TEXT = {"dtype": "string", "_type": "Value"}
_FEATURES = {
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "id": _TEXT,
    "messages": {"feature": {"role": _TEXT, "content": _TEXT}, "_type": "List"},
    "answers": {"feature": _TEXT, "_type": "List"},
    "source": _TEXT,
    "split": _TEXT,
    "meta": _TEXT,
}
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
SCHEMA = pa.schema(
    [("images", _IMAGES), *COLUMNS], metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})}
)


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>-<number>.parquet``; shards that are there already are left as they are."""
    for shard in shards(rows, target.shard_bytes, _size):
        path = target.folder / f"{shard.name}.parquet"
        if not path.is_file():
            with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
                for group in _groups(shard):
                    writer.write_table(pa.Table.from_pylist(group, SCHEMA))


def _groups(shard: Shard) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    held = 0
    for row in shard.rows:
        images = []
        for number, key in enumerate(row.keys):
            data = read_image(row, number)
            images.append({"bytes": data, "path": f"{key}.{suffix_of(data)}"})
            held += len(data)
        group.append({"images": images, **columns(row)})
        if held >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
            yield group
            group, held = [], 0
    if group:
        yield group


def _size(row: Row) -> int:
    return sum(row.sizes) + len(json.dumps(columns(row), ensure_ascii=False))
