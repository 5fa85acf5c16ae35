"""Files of blocks of rows, of which a later run copies the blocks that are still the same.

A block has a key: equal keys mean equal bytes. A state file lists the keys, sizes and checksums of the blocks of each
file. A block is only copied if its bytes have this checksum: what was damaged, or left by a run that was killed, is
made anew. The files appear whole, with the bytes that they have when they are written from scratch.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, read_json, write_json
from winnow.parquet.footer import MAGIC, Entry, RowGroup, encoded, footer_bytes

_END = "end"  # key of what follows the last row group


class Block(NamedTuple):
    """A block as the state file lists it.

    Attributes:
        size: in bytes; of a row group ``entry``: bytes of its entry in the footer, and ``rows``; of the end ``entry``:
            where in it the first of these begins.
    """

    key: str
    size: int
    checksum: int
    entry: int = 0
    rows: int = 0


class BlockFile:
    """A file that is being written.

    Attributes:
        blocks: those that are written.
    """

    def __init__(self, path: Path, earlier: list[Block], file: BinaryIO, header: bytes = b"") -> None:
        self._path, self._file = path, file
        self._digest = hashlib.sha256()
        self.blocks: list[Block] = []
        self.places: dict[str, int] = {}  # of the blocks in the earlier file
        self._earlier: dict[str, tuple[int, int]] = {}
        self._copied = (b"", 0)  # the last block that was found, whose checksum is known
        place = len(header)
        for block in earlier:
            self.places[block.key], self._earlier[block.key] = place, (block.size, block.checksum)
            place += block.size
        self._write(header)

    def sha256(self) -> str:
        """Hex digest of what is written."""
        return self._digest.hexdigest()

    def kept(self, key: str) -> bytes | None:
        """The block with this key in the earlier file; None if it is not there, or not as it was."""
        if key not in self.places:
            return None
        size, checksum = self._earlier[key]
        try:
            with self._path.open("rb") as file:
                file.seek(self.places[key])
                data = file.read(size)
        except OSError:
            return None
        if len(data) != size or zlib.crc32(data) != checksum:
            return None
        self._copied = (data, checksum)
        return data

    def add(self, key: str, data: bytes, entry: int = 0, rows: int = 0) -> None:
        """Append a block; ``entry`` and ``rows`` are as of ``Block``."""
        self._write(data)
        copied, checksum = self._copied
        self.blocks.append(Block(key, len(data), checksum if data is copied else zlib.crc32(data), entry, rows))

    def end(self) -> None:
        """Append what follows the last block."""

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise _failed(error, self._path) from error


class TableFile:
    """A Parquet file that is being written; a block is a row group."""

    def __init__(self, path: Path, earlier: list[Block], file: BinaryIO, schema: pa.Schema) -> None:
        self._file, self._schema = BlockFile(path, earlier, file, MAGIC), schema
        self._place = len(MAGIC)
        self._entries: list[Entry] = []
        self._earlier: dict[str, Entry] = {}
        end = self._file.kept(_END)
        if end is None:
            return
        *groups, last = earlier
        at, found = last.entry, []
        for number, group in enumerate(groups):
            found.append(Entry(end[at : at + group.entry], self._file.places[group.key], number, group.rows))
            at += group.entry
        if footer_bytes(schema, found) == (end, last.entry):  # else the state file is damaged
            self._earlier = {group.key: entry for group, entry in zip(groups, found, strict=True)}

    @property
    def blocks(self) -> list[Block]:
        """The row groups, and the footer."""
        return self._file.blocks

    def sha256(self) -> str:
        """Hex digest of what is written."""
        return self._file.sha256()

    def kept(self, key: str) -> RowGroup | None:
        """The row group with this key in the earlier file; None if it is not there, or not as it was."""
        data = self._file.kept(key) if key in self._earlier else None
        return None if data is None else RowGroup(data, self._earlier[key])

    def encoded(self, rows: pa.Table) -> RowGroup:
        """Rows as a row group."""
        return encoded(rows, self._schema)

    def add(self, key: str, group: RowGroup) -> None:
        """Append a row group."""
        entry = group.entry.at(self._place, len(self._entries))
        self._file.add(key, group.data, len(entry.written), entry.rows)
        self._entries.append(entry)
        self._place += len(group.data)

    def end(self) -> None:
        """Append the footer."""
        self._file.add(_END, *footer_bytes(self._schema, self._entries))


@contextlib.contextmanager
def open_block_files(
    state: Path, tables: Mapping[Path, pa.Schema], lines: tuple[Path, ...] = ()
) -> Iterator[tuple[list[TableFile], list[BlockFile]]]:
    """Files to write, Parquet files by their schemas and files of lines; they and ``state`` are in place at the end.

    Raises:
        UserError: a file cannot be written.
    """
    earlier = _read_state(state)
    found: dict[Path, Any] = {}
    with contextlib.ExitStack() as stack:
        for path in (*tables, *lines):
            file = stack.enter_context(_opened(path))
            known = earlier.get(path.name, [])
            found[path] = TableFile(path, known, file, tables[path]) if path in tables else BlockFile(path, known, file)
        yield [found[path] for path in tables], [found[path] for path in lines]
        for made in found.values():
            made.end()
    write_json(state, {path.name: made.blocks for path, made in found.items()})


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        raise _failed(error, path) from error


def _read_state(state: Path) -> dict[str, list[Block]]:
    try:
        return {
            str(name): [Block(str(key), *map(int, numbers)) for key, *numbers in blocks]
            for name, blocks in read_json(state).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _failed(error: OSError, path: Path) -> UserError:
    return UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})")
