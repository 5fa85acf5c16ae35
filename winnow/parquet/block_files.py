"""Files of blocks of rows, of which a later run copies the blocks that are still the same.

A block has a key: equal keys mean equal bytes. A state file lists the keys, sizes and checksums of the blocks of each
file, and has a digest of its own. A block is only copied if its bytes have this checksum: what was damaged, or left by
a run that was killed, is made anew. The files appear whole, with the bytes that they have when they are written from
scratch; a file of lines of which nothing has changed stays as it is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, digest_of, read_json, write_state
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


class DamagedError(Exception):
    """A file has kept its size and time, but not its bytes: without the state file, all blocks are made anew."""


class _Earlier(NamedTuple):
    """A file as the state file lists it.

    Attributes:
        facts: its size, time and inode; sha256: of it.
    """

    facts: list[int]
    sha256: str
    blocks: list[Block]


class BlockFile:
    """A file that is being written.

    While the blocks are those of the earlier file, in the same order, nothing is written.

    Attributes:
        blocks: those that the file has so far.
    """

    def __init__(
        self, path: Path, earlier: _Earlier, opened: Callable[[], BinaryIO], threads: ThreadPoolExecutor,
        header: bytes = b"",
    ) -> None:  # fmt: skip
        """``opened`` opens the file to write, ``threads`` compute its digest."""
        self._path, self._opened, self._header = path, opened, header
        self._file: BinaryIO | None = None
        self._digest, self._threads, self._hashed = hashlib.sha256(), threads, Future[None]()
        self._hashed.set_result(None)
        self.blocks: list[Block] = []
        self.places: dict[str, int] = {}  # of the blocks in the earlier file
        self._earlier: dict[str, tuple[int, int]] = {}
        self._copied = (b"", 0)  # the last block that was found, whose checksum is known
        place = len(header)
        for block in earlier.blocks:
            self.places[block.key], self._earlier[block.key] = place, (block.size, block.checksum)
            place += block.size
        self._before = earlier if earlier.facts and _facts(path) == earlier.facts else None
        if self._before is None:
            self.begin()

    def sha256(self) -> str:
        """Hex digest of the file, which is ended."""
        if self._file is None and self._before is not None:
            return self._before.sha256
        self._hashed.result()
        return self._digest.hexdigest()

    def repeat(self, key: str) -> bool:
        """Append the block with this key in the earlier file; False if it is not there, or not as it was."""
        before = self._block_before()
        if before is not None and before.key == key:
            self.blocks.append(before)
            return True
        data = self.kept(key)
        if data is not None:
            self.add(key, data)
        return data is not None

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
        before = self._block_before()
        copied, checksum = self._copied
        block = Block(key, len(data), checksum if data is copied else zlib.crc32(data), entry, rows)
        if before is None or before[1:] != block[1:] or self.kept(before.key) != data:
            self.begin()
            self._write(data)
        self.blocks.append(block)

    def begin(self) -> None:
        """Write from now on, and the blocks so far.

        Raises:
            DamagedError: one of these is not as it was.
        """
        if self._file is not None:
            return
        self._file = self._opened()
        self._write(self._header)
        for before in self._before.blocks[: len(self.blocks)] if self._before else []:
            data = self.kept(before.key)
            if data is None:
                raise DamagedError
            self._write(data)

    def end(self) -> None:
        """No block follows."""
        if self._before is None or len(self.blocks) != len(self._before.blocks):
            self.begin()

    def listed(self) -> _Earlier:
        """The file, which is in its place, for the state file."""
        return _Earlier(_facts(self._path), self.sha256(), self.blocks)

    def _block_before(self) -> Block | None:
        """The block of the earlier file that stands where the next one will, if all are as they were so far."""
        if self._file is not None or self._before is None or len(self.blocks) == len(self._before.blocks):
            return None
        return self._before.blocks[len(self.blocks)]

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._hashed.result()
        self._hashed = self._threads.submit(self._digest.update, data)
        try:
            self._file.write(data)
        except OSError as error:
            raise _failed(error, self._path) from error


class TableFile:
    """A Parquet file that is being written; a block is a row group."""

    def __init__(self, file: BlockFile, earlier: list[Block], schema: pa.Schema) -> None:
        self._file, self._schema = file, schema
        file.begin()
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

    def listed(self) -> _Earlier:
        """As of ``BlockFile``; the last block is the footer."""
        return self._file.listed()


@contextlib.contextmanager
def open_block_files(
    state: Path, tables: Mapping[Path, pa.Schema], lines: tuple[Path, ...] = ()
) -> Iterator[tuple[list[TableFile], list[BlockFile]]]:
    """Files to write, Parquet files by their schemas and files of lines; they and ``state`` are in place at the end.

    Raises:
        UserError: a file cannot be written.
        DamagedError: see there.
    """
    earlier = _read_state(state)
    found: dict[Path, Any] = {}
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(2))
        for path in (*tables, *lines):
            known = earlier.get(path.name, _Earlier([], "", []))
            opened = functools.partial(stack.enter_context, _opened(path))
            file = BlockFile(path, known, opened, threads, MAGIC if path in tables else b"")
            found[path] = TableFile(file, known.blocks, tables[path]) if path in tables else file
        yield [found[path] for path in tables], [found[path] for path in lines]
        for made in found.values():
            made.end()
    files = {path.name: made.listed() for path, made in found.items()}
    write_state(state, {"files": files, "digest": digest_of(files)})


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        raise _failed(error, path) from error


def _read_state(state: Path) -> dict[str, _Earlier]:
    try:
        noted = read_json(state)
        if noted["digest"] != digest_of(noted["files"]):
            return {}
        return {
            name: _Earlier(facts, digest, [Block(*block) for block in blocks])
            for name, (facts, digest, blocks) in noted["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _facts(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _failed(error: OSError, path: Path) -> UserError:
    return UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})")
