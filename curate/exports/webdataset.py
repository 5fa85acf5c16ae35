"""WebDataset tar shards: ``<key>.jpg`` and ``<key>.json`` side by side; several images are ``<key>.0.jpg`` ….

The key is the row's position in the input, the JSON is Winnow's record. Headers hold no time and no
owner, so that equal rows give equal bytes.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from io import BytesIO

from curate.exports.rows import Row, Shard, Target, read_image, shards, suffix_of
from winnow.files import atomic_path
from winnow.records import to_record

_BLOCK = tarfile.BLOCKSIZE


def write(rows: Iterable[Row], target: Target) -> None:
    """Write ``<split>-<number>.tar``; shards that are there already are left as they are."""
    for shard in shards(rows, target.shard_bytes - tarfile.RECORDSIZE, _size):
        path = target.folder / f"{shard.name}.tar"
        if not path.is_file():
            with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                _fill(tar, shard)


def _fill(tar: tarfile.TarFile, shard: Shard) -> None:
    for row in shard.rows:
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


def _size(row: Row) -> int:
    """Bytes that a row takes in a tar: a header and padded content for each member."""
    return sum(_BLOCK + -(-size // _BLOCK) * _BLOCK for size in (*row.sizes, len(_json(row))))
