"""Exports that hold the images: Parquet, WebDataset tar shards, and image folders.

Parquet has the images in the table, as the Hugging Face hub stores image datasets: ``images`` is a list of
``{bytes, path}`` declared as ``List(Image)``, so ``datasets.load_dataset`` gives images. Row groups are small,
because a viewer reads one at a time.

A WebDataset shard has ``<key>.jpg`` (several images: ``<key>.0.jpg`` …) beside ``<key>.json``. The key is the row's
position in the input, the JSON is Winnow's record. Headers hold neither time nor owner, so equal rows give equal bytes.

An image folder has ``<split>/metadata.parquet`` beside the images. Its column ``images_file_names`` is loaded as
``images``, a list, so rows with several images or none fit too (under the name ``file_names`` the loader takes an
empty list for a missing one). It is Parquet rather than JSON lines, in which a column that is empty in one split
would get another type there.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.exports.rows import Format, Part, Row, Shard, Target, copy_images, read_image, shards, suffix_of
from curate.exports.training import media_of
from winnow.files import atomic_path
from winnow.rows.records import to_record

_TEXTS = pa.list_(pa.string())
_COLUMNS = [
    ("id", pa.string()),
    ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("loss", pa.bool_())]))),
    ("answers", _TEXTS),
    ("source", pa.string()),
    ("split", pa.string()),
    ("meta", pa.string()),
]


def _columns(row: Row) -> dict[str, Any]:
    """A record as flat columns (``_COLUMNS``). ``meta`` is JSON text, because its shape differs from row to row.

    ``role`` is the source's own where that says more (``tool_call``), and ``loss`` null where it says nothing.
    """
    sample = row.sample
    return {
        "id": sample.id,
        "messages": [
            {"role": turn.name or turn.role, "content": turn.value, "loss": turn.loss} for turn in sample.conversations
        ],
        "answers": list(sample.answers),
        "source": sample.source,
        "split": sample.split,
        "meta": json.dumps(dict(sample.meta), ensure_ascii=False),
    }


_GROUP_BYTES = 32 << 20
_GROUP_ROWS = 1000
_TEXT = {"dtype": "string", "_type": "Value"}
_FEATURES = {
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "id": _TEXT,
    "messages": {
        "feature": {"role": _TEXT, "content": _TEXT, "loss": {"dtype": "bool", "_type": "Value"}},
        "_type": "List",
    },
    "answers": {"feature": _TEXT, "_type": "List"},
    "source": _TEXT,
    "split": _TEXT,
    "meta": _TEXT,
}
PARQUET_SCHEMA = pa.schema(
    [("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))), *_COLUMNS],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def write_parquet_shards(rows: Iterable[Row], target: Target) -> list[Part]:
    """Write ``<split>-<number>.parquet``; shards that are there already stay as they are."""
    for shard in shards(rows, target.shard_bytes, _parquet_size):
        path = target.folder / f"{shard.name}.parquet"
        if not path.is_file():
            with atomic_path(path) as temporary, pq.ParquetWriter(temporary, PARQUET_SCHEMA, compression="zstd") as out:
                for group in _row_groups(shard):
                    out.write_table(pa.Table.from_pylist(group, PARQUET_SCHEMA))
    return [Part("", {split: f"{split}-*.parquet" for split in target.curated.splits})]


def _row_groups(shard: Shard) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in shard.rows:
        images = []
        for number, key in enumerate(row.keys):
            data = read_image(row, number)
            images.append({"bytes": data, "path": f"{key}.{suffix_of(data)}"})
            size += len(data)
        group.append({"images": images, **_columns(row)})
        if size >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _parquet_size(row: Row) -> int:
    return sum(row.sizes) + len(json.dumps(_columns(row), ensure_ascii=False))


def write_webdataset(rows: Iterable[Row], target: Target) -> list[Part]:
    """Write ``<split>-<number>.tar``; shards that are there already stay as they are."""
    for shard in shards(rows, target.shard_bytes - tarfile.RECORDSIZE, _tar_size):
        path = target.folder / f"{shard.name}.tar"
        if not path.is_file():
            with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                for row in shard.rows:
                    _add_row(tar, row)
    return [Part("", {split: f"{split}-*.tar" for split in target.curated.splits})]


def _add_row(tar: tarfile.TarFile, row: Row) -> None:
    key = f"{row.position:09d}"
    for number in range(len(row.files)):
        data = read_image(row, number)
        infix = f".{number}" if len(row.files) > 1 else ""
        _add(tar, f"{key}{infix}.{suffix_of(data)}", data)
    _add(tar, f"{key}.json", _json(row))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, BytesIO(data))


def _json(row: Row) -> bytes:
    return json.dumps(to_record(row.sample), ensure_ascii=False).encode()


def _tar_size(row: Row) -> int:
    """Bytes that a row takes in a tar: for each member a header and its padded content."""
    block = tarfile.BLOCKSIZE
    return sum(block + -(-size // block) * block for size in (*row.sizes, len(_json(row))))


IMAGEFOLDER_SCHEMA = pa.schema([("images_file_names", _TEXTS), *_COLUMNS])
_BATCH = 1000
_OTHER_FILES = ("videos", "audios", "rejected_images")


def write_imagefolder(rows: Iterable[Row], target: Target) -> list[Part]:
    """Write ``<split>/metadata.parquet`` and ``<split>/images/``; rows with other files are rejected."""
    waiting: dict[str, list[dict[str, Any]]] = {split: [] for split in target.curated.splits}
    with contextlib.ExitStack() as stack:
        writers = {}
        for split in target.curated.splits:
            path = stack.enter_context(atomic_path(target.folder / split / "metadata.parquet"))
            writers[split] = stack.enter_context(pq.ParquetWriter(path, IMAGEFOLDER_SCHEMA))

        def flush(split: str) -> None:
            writers[split].write_table(pa.Table.from_pylist(waiting[split], IMAGEFOLDER_SCHEMA))
            waiting[split].clear()

        for row in rows:
            if other := next((key for key in _OTHER_FILES if media_of(row.sample.meta.get(key), str)), None):
                target.reject(row.sample.id, f"an image folder holds images of rows only, and this one has {other}")
                continue
            names = copy_images(row, target.folder / row.split)
            waiting[row.split].append({"images_file_names": names, **_columns(row)})
            if len(waiting[row.split]) >= _BATCH:
                flush(row.split)
        for split in target.curated.splits:
            flush(split)
    return []


FORMATS = {
    "parquet": Format(
        write_parquet_shards,
        {"": '```python\ndatasets.load_dataset("parquet", data_dir="{here}")\n```'},
    ),
    "webdataset": Format(
        write_webdataset,
        {
            "": "`<key>.jpg` (or `<key>.0.jpg`, `<key>.1.jpg` …) and `<key>.json`.\n\n"
            '```python\nwebdataset.WebDataset("{first}", shardshuffle=False).decode("pil")\n```'
        },
    ),
    "imagefolder": Format(
        write_imagefolder,
        {"": '```python\ndatasets.load_dataset("imagefolder", data_dir="{here}")\n```'},
    ),
}
