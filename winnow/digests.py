"""sha256 of files, read once: a table remembers them by path, size, times and inode.

What was written so shortly before it was read that a later write could have left the same time is not remembered, as
git does with a file that is "racily clean": it is read again the next time.
"""

from __future__ import annotations

import hashlib
import os
import time
from array import array
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.files import atomic_path, open_regular
from winnow.hash_index import HashIndex, digest64

TICK_NS = 2_000_000_000  # the coarsest clock of a file system, that of FAT
_SCHEMA = pa.schema([("key", pa.uint64()), ("sha256", pa.binary(32))])


class Digests:
    """The digests of files, from the table of an earlier use; ``save`` keeps those that were asked for.

    Without a table, every file is read.
    """

    def __init__(self, table: Path | None) -> None:
        self._table = table
        self._index = HashIndex()
        empty = _SCHEMA.empty_table()
        try:
            stored = pq.read_table(table, page_checksum_verification=True).cast(_SCHEMA) if table else empty
        except (OSError, ValueError, pa.ArrowException):  # none yet, or damaged: every file is read
            stored = empty
        self._known = b"".join(stored.column("sha256").to_pylist())
        for number, key in enumerate(stored.column("key").to_pylist()):
            self._index.add(key, number)
        self._asked = HashIndex()
        self._keys, self._digests = array("Q"), bytearray()

    def of(self, path: str | Path, status: os.stat_result | None = None) -> str:
        """Hex sha256 of a file.

        Args:
            status: of the file, if it is known already.

        Raises:
            OSError: it cannot be read, or is no regular file.
        """
        key = _key(path, status or os.stat(path))  # noqa: PTH116 (there may be a million)
        number = self._index.get(key)
        if number is not None:
            found = self._known[32 * number : 32 * number + 32]
        else:
            key, found = self._read(path)
        if key and self._asked.add(key, 0) is None:
            self._keys.append(key)
            self._digests += found
        return found.hex()

    def known(self, path: str | Path) -> str | None:
        """Hex sha256 of a file that is as it was when the table was made; None for any other."""
        number = self._index.get(_key(path, os.stat(path)))  # noqa: PTH116
        return None if number is None else self._known[32 * number : 32 * number + 32].hex()

    def _read(self, path: str | Path) -> tuple[int, bytes]:
        """Key and digest of a file; the key is 0 if it may have changed without a trace."""
        now = time.time_ns()
        with open_regular(Path(path)) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").digest()
            key = _key(path, before)
            settled = max(before.st_mtime_ns, before.st_ctime_ns) < now - TICK_NS
            return key if settled and key == _key(path, os.fstat(file.fileno())) else 0, digest

    def save(self) -> None:
        """Write the table, unless it is as it was."""
        if self._table is None:
            return
        if len(self._keys) == len(self._index) and all(self._index.get(key) is not None for key in self._keys):
            return
        digests = pa.FixedSizeBinaryArray.from_buffers(
            _SCHEMA.field("sha256").type, len(self._keys), [None, pa.py_buffer(bytes(self._digests))]
        )
        table = pa.table([pa.array(self._keys, pa.uint64()), digests], _SCHEMA)
        with atomic_path(self._table) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)


def _key(path: str | Path, status: os.stat_result) -> int:
    name = path if isinstance(path, str) else str(path)
    name = name if name.startswith("/") else os.path.abspath(name)  # noqa: PTH100 (keeps links)
    return digest64(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_ino}")
